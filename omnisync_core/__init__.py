"""OmniSync: video + voice in, the same video with matching lips out."""
