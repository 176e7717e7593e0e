"""The vocoder as a service: HTTP calls, one thread that computes, limits, and the page. Needs the extra `serve`."""
