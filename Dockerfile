# SonoSeek as a container image; docs/deployment.md says how it is built, run and kept.
#
#   TORCH_INDEX  index that carries the wanted build of torch; without it pip's own index is asked
#   TORCH_BUILD  cpu (the default) refuses a CUDA build, which is several GB larger; cuda takes one
#   BASE_IMAGE   the same image under another name, where a registry of the hospital mirrors it
#
# A pip.conf for a mirror, with its credentials, is handed in as the build secret pip_conf and stays out of the image.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY app/ app/
COPY models/ models/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /dist .

FROM ${BASE_IMAGE} AS environment
ARG TORCH_INDEX=""
ARG TORCH_BUILD=cpu
WORKDIR /src
COPY pyproject.toml constraints.txt deploy/torch_build.py ./
# torch alone comes from its own index; what torch needs comes, like all else, from pip's.
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    python -m venv --without-pip /opt/sonoseek \
 && pip --python /opt/sonoseek/bin/python install --quiet --no-cache-dir --no-deps --constraint constraints.txt \
        ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} torch \
 && /opt/sonoseek/bin/python torch_build.py "${TORCH_BUILD}"
# Dependencies without the application, so that a new version of it is a layer of a few MB: those of the service, and
# those of a PostgreSQL database and of the evaluation's report.
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; x = p['optional-dependencies']; \
               print(*p['dependencies'], *x['postgres'], *x['evaluation'], sep='\n')" \
        > requirements.txt \
 && pip --python /opt/sonoseek/bin/python install --quiet --no-cache-dir --constraint constraints.txt \
        --requirement requirements.txt

FROM ${BASE_IMAGE} AS runtime
LABEL org.opencontainers.image.title="SonoSeek" \
      org.opencontainers.image.description="Upload an ultrasound image, get the most similar labelled references. Research, annotation support and teaching; not a diagnosis." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=environment /opt/sonoseek /opt/sonoseek
# The installer goes when its work is done: nothing is installed into a running container.
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip --python /opt/sonoseek/bin/python install --quiet --no-cache-dir --no-deps --no-index /dist/*.whl \
 && PIP_ROOT_USER_ACTION=ignore pip uninstall --quiet --yes setuptools wheel pip \
 && groupadd --gid 10001 sonoseek \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin sonoseek \
 && install --directory --owner=10001 --group=10001 --mode=0750 /data /models \
 && install --directory /etc/sonoseek
ENV PATH=/opt/sonoseek/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    SONOSEEK_DATA=/data \
    SONOSEEK_MODELS=/models \
    SONOSEEK_SERVER__HOST=0.0.0.0 \
    SONOSEEK_SERVER__PORT=8000 \
    SONOSEEK_LOG__FORMAT=json
# A sonoseek.toml that is mounted here is read.
WORKDIR /etc/sonoseek
USER 10001:10001
VOLUME ["/data", "/models"]
EXPOSE 8000
STOPSIGNAL SIGTERM
# http.client and not urllib, which would ask a proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['SONOSEEK_SERVER__PORT']), timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["sonoseek"]
CMD ["serve"]
