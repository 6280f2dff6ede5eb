# The operator. The base can be python:slim or any Debian with python3 and pip:
#   docker build --build-arg BASE=... --tag pgoperator .
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS dependencies
COPY requirements/runtime.txt /tmp/requirements.txt
# Bytecode is compiled here and never checked against its source: files in an image do not change, but copies change
# their times, and a new compilation could not be stored on a read-only file system.
RUN python3 -m pip install --no-cache-dir --no-compile --only-binary=:all: --require-hashes \
        --target=/app/lib --requirement=/tmp/requirements.txt \
 && rm -rf /app/lib/bin \
 && find /app/lib -type d \( -name test -o -name tests \) -prune -exec rm -rf {} + \
 && python3 -m compileall -q --invalidation-mode=unchecked-hash /app/lib

FROM ${BASE} AS application
COPY pgoperator/ /app/src/pgoperator/
COPY reconcilers/ /app/src/reconcilers/
RUN python3 -m compileall -q --invalidation-mode=unchecked-hash /app/src

FROM ${BASE}
# One arena: the event loop allocates from a single thread, so more arenas only waste memory.
ENV PYTHONPATH=/app/src:/app/lib \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=1
COPY --from=dependencies /app/lib/ /app/lib/
COPY --from=application /app/src/ /app/src/
WORKDIR /app
USER 65532:65532
ENTRYPOINT ["python3", "-m", "pgoperator"]
CMD ["run"]
