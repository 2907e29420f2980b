# The hub's image of the chart, and this package in it.
FROM quay.io/jupyterhub/k8s-hub:4.4.0
USER root
RUN python3 -m pip install --no-cache-dir jupyter-otel-telemetry
USER ${NB_USER}
