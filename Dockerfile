# docker build --target cpu -t waveglow .         synthesis on any machine
# docker build --target cuda -t waveglow:cuda .   training; run with --gpus all --shm-size 2g (the loader's memory)
# docker build --target serve -t waveglow-serve . the service on a CPU (docs/howto/serve.md, deploy/)
# docker build --target serve-cuda -t waveglow-serve:cuda .   the service on a GPU; run with --gpus all
#
# The services run as a user, on a root file system that can only be read; models of the hub come into the volume /cache.

FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM pytorch/pytorch:2.10.0-cuda12.8-cudnn9-runtime AS cuda
COPY --from=build /wheels /wheels
LABEL org.opencontainers.image.title="waveglow-vocoders"
# torch is held at the image's version: a newer one would bring a second CUDA.
RUN pip install --no-cache-dir --break-system-packages "torch==2.10.*" /wheels/*.whl \
    && useradd --create-home --uid 10001 waveglow
USER 10001
WORKDIR /home/waveglow
ENTRYPOINT ["waveglow"]

FROM python:3.12-slim AS cpu
LABEL org.opencontainers.image.title="waveglow-vocoders"
COPY --from=build /wheels /wheels
# torch comes first, from the CPU index: PyPI's wheels for Linux bring gigabytes of CUDA.
RUN pip install --no-cache-dir "torch>=2.10" --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir /wheels/*.whl \
    && useradd --create-home --uid 10001 waveglow
USER 10001
WORKDIR /home/waveglow
ENTRYPOINT ["waveglow"]

FROM cuda AS serve-cuda
USER 0
RUN pip install --no-cache-dir --break-system-packages "torch==2.10.*" "$(ls /wheels/*.whl)[hub,serve]" \
    && mkdir /cache && chown 10001 /cache
USER 10001
ENV HF_HOME=/cache
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["waveglow", "serve", "--host", "0.0.0.0"]

FROM cpu AS serve
USER 0
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[hub,serve]" \
    && mkdir /cache && chown 10001 /cache
USER 10001
ENV HF_HOME=/cache
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["waveglow", "serve", "--host", "0.0.0.0"]
