# One image for release, bot and worker: the same launcher, the same lock, an account without rights.
FROM python:3.11-slim

RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/sayso --shell /usr/sbin/nologin sayso
WORKDIR /app
COPY . .
# The first command makes .venv from the hash-pinned lock; afterwards the launcher finds it whole.
RUN ./sayso version

ENV SAYSO_HOME=/var/lib/sayso/home HOST=0.0.0.0
RUN install -d -o sayso -g sayso -m 0700 "$SAYSO_HOME"
USER sayso
VOLUME /var/lib/sayso
EXPOSE 8080
CMD ["./sayso", "bot"]
