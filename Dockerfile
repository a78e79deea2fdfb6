# The environment of all jobs, at the versions of the lock: docker build -t unitlens:0.10.1 .
FROM python:3.11-slim

WORKDIR /unitlens
COPY requirements.lock ./
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.lock
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE config.yaml ./
COPY src ./src
COPY workflow ./workflow
COPY envs ./envs
COPY presets ./presets
COPY profiles ./profiles
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps .

WORKDIR /work
