# An image with the gateway and its load generator. docs/installing.md says how to run it.
# A test plays each step of the second stage in a Debian of its own.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo +"${RUST_VERSION:-stable}" build --release --locked --package trunkline-program --package trunkline-loadgen --bins

FROM debian:bookworm-slim
RUN useradd --system --user-group --uid 10001 --home-dir /var/lib/trunkline --shell /usr/sbin/nologin trunkline \
    && install --directory --owner=trunkline --group=trunkline --mode=0700 /var/lib/trunkline
# Certificates of authorities, for back ends and buckets with https.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/trunkline /src/target/release/loadgen /usr/bin/
# The number, so that Kubernetes can see that it is not root.
USER 10001:10001
ENV TRUNKLINE_DATA=/var/lib/trunkline TRUNKLINE_LISTEN=0.0.0.0:7700 TRUNKLINE_HTTP=0.0.0.0:7702
VOLUME ["/var/lib/trunkline"]
EXPOSE 7700 7702
HEALTHCHECK --interval=10s --timeout=6s --start-period=1m --retries=3 CMD ["trunkline", "health"]
ENTRYPOINT ["trunkline"]
CMD ["serve"]
