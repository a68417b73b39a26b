"""Who makes what a run needs: this process, or several."""
