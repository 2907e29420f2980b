# An image for users' servers, and this package in it. Any image with Jupyter Server 2 will do.
FROM quay.io/jupyterhub/k8s-singleuser-sample:4.4.0
RUN python3 -m pip install --no-cache-dir jupyter-otel-telemetry
