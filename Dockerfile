# `docker build .` makes the dashboard (target app, without torch); `docker build --target pipeline .` what runs studies.
# docs/sharing.md, "Containers". tests/install runs the steps of target app without a container engine.
ARG BASE=python:3.11-slim

# The wheel, once for both.
FROM ${BASE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE.md requirements*.txt requirements*.lock ./
COPY .streamlit/ .streamlit/
COPY app/ app/
COPY data/ data/
COPY deploy/wheel.py deploy/
COPY docs/methods.md docs/
COPY pipeline/ pipeline/
COPY stepscope/ stepscope/
ARG REVISION=
RUN STEPSCOPE_COMMIT=${REVISION} python -m pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /dist .

# Packages of the dashboard by their hashes. pip stays outside of the environment, and nothing is compiled.
FROM ${BASE} AS app-packages
WORKDIR /src
RUN python -m venv --without-pip /opt/stepscope
COPY requirements-app.lock ./
RUN python -m pip --python /opt/stepscope/bin/python install --quiet --no-cache-dir --no-compile \
      --only-binary :all: --require-hashes --requirement requirements-app.lock
COPY --from=wheel /dist/ /dist/
RUN python -m pip --python /opt/stepscope/bin/python install --quiet --no-cache-dir --no-compile --no-index /dist/*.whl
# No package imports its tests when it is used.
RUN find /opt/stepscope/lib -type d \( -name tests -o -name test -o -name __pycache__ \) -prune -exec rm -r {} +

# The same of what runs studies.
FROM ${BASE} AS pipeline-packages
WORKDIR /src
RUN python -m venv --without-pip /opt/stepscope
COPY requirements-run.lock ./
RUN python -m pip --python /opt/stepscope/bin/python install --quiet --no-cache-dir --no-compile \
      --only-binary :all: --require-hashes --requirement requirements-run.lock
COPY --from=wheel /dist/ /dist/
RUN wheel=$(echo /dist/*.whl) \
 && python -m pip --python /opt/stepscope/bin/python install --quiet --no-cache-dir --no-compile --no-index "${wheel}[run]"

# The user, with the same number everywhere: volumes belong to it. The root may be read-only; what is temporary goes to /tmp.
FROM ${BASE} AS base
ENV PATH=/opt/stepscope/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN groupadd --gid 10001 stepscope \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin stepscope \
 && install -d -o 10001 -g 10001 /srv/studies /srv/reviews /srv/work /srv/models
ARG REVISION=
LABEL org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT"

FROM base AS pipeline
LABEL org.opencontainers.image.title="Stepscope: pipeline" \
      org.opencontainers.image.description="Runs studies of text-to-image diffusion models and publishes them"
COPY --from=pipeline-packages /opt/stepscope/ /opt/stepscope/
ENV HF_HOME=/srv/models
WORKDIR /srv/work
USER 10001:10001
VOLUME ["/srv/work", "/srv/models"]
HEALTHCHECK NONE
ENTRYPOINT ["stepscope"]
CMD ["--help"]

FROM base AS app
LABEL org.opencontainers.image.title="Stepscope: dashboard" \
      org.opencontainers.image.description="Shows every denoising step of text-to-image diffusion models"
COPY --from=app-packages /opt/stepscope/ /opt/stepscope/
ENV STEPSCOPE_REVIEWS=/srv/reviews STREAMLIT_SERVER_BASE_URL_PATH=
WORKDIR /srv
USER 10001:10001
VOLUME ["/srv/reviews"]
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "import os, urllib.request as u; base = os.environ['STREAMLIT_SERVER_BASE_URL_PATH'].strip('/'); u.urlopen('http://127.0.0.1:8501' + (base and '/' + base) + '/_stcore/health', timeout=4)"]
ENTRYPOINT ["stepscope", "app", "--address", "0.0.0.0", "--port", "8501"]
CMD ["/srv/studies"]
