# The program and its dependencies; docker-compose.yml says what runs of it.
#
# The base is pinned by its exact tag. To pin its content too, append the digest that
# `docker buildx imagetools inspect python:3.11.17-slim-bookworm` shows: FROM python:3.11.17-slim-bookworm@sha256:...
FROM python:3.11.17-slim-bookworm AS base


# The virtual environment holds what the lock files name; their hashes are checked, as in the Makefile.
FROM base AS builder
ENV UV_CACHE_DIR=/var/cache/uv UV_LINK_MODE=copy
# Languages whose texts need further packages: docker compose build --build-arg EXTRAS=ja, or "ja zh".
ARG EXTRAS=
COPY requirements/uv.txt requirements/runtime.txt requirements/ja.txt requirements/zh.txt /requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /requirements/uv.txt \
    && python -m venv --without-pip /opt/venv
# The cache keeps gigabytes from being loaded again when one line of the lock changes.
RUN --mount=type=cache,target=/var/cache/uv \
    uv pip sync --compile-bytecode --python /opt/venv/bin/python --require-hashes /requirements/runtime.txt \
    && for language in $EXTRAS; do \
        uv pip install --compile-bytecode --python /opt/venv/bin/python --require-hashes \
            -r "/requirements/$language.txt" || exit 1; \
    done


# No Debian packages are added: the wheels bring their libraries, and need of the system only what Python does.
FROM base
COPY --from=builder /opt/venv /opt/venv

# A user id without an entry in passwd has no name, and / as its home: librosa cannot be imported where numba finds no
# folder to write to.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    USER=study \
    XTTS_STUDY_CACHE=/cache
# A new volume takes the mode of the folder it covers: any user id may write.
RUN mkdir --mode=1777 /cache /study

# Of the checkout, for the exports: docker compose build --build-arg COMMIT=$(git describe --always --dirty --abbrev=40)
ARG COMMIT=
ENV XTTS_STUDY_COMMIT=$COMMIT

# The code comes last, in layers of its own: a change of it moves kilobytes, not the libraries.
WORKDIR /opt/xtts-study
COPY docker/with-password.sh docker/
COPY space space
COPY search search
COPY study.py LICENSE ./
RUN python -m compileall -q .

# The user's folder is mounted here: study.toml, data, and runs/.
WORKDIR /study
USER 1000:1000
CMD ["python", "/opt/xtts-study/study.py"]
