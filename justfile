# Lists what there is.
default:
    @just --list --unsorted

# Installs what is missing (Debian and Ubuntu as root; elsewhere it says what).
setup:
    scripts/setup

# Every test against real servers, doctests and examples.
test:
    scripts/test

# Formats the code.
fmt:
    cargo fmt --all

# Clippy, warnings denied.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The documentation, warnings denied.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Licences, sources and banned crates.
deny:
    scripts/deny

# Runs every example once.
examples:
    scripts/examples

# What every change must pass: tests, doctests, examples, format, clippy, docs, interleavings, schedules, instruction
# counts, deny.
verify:
    .ci/run

# obs-torture and obs in release mode, in target/acceptance: for tests from outside.
torture-tools:
    scripts/torture-tools

# Faults from outside with their full counts: 300 kills, an outage of a minute; `just soak killed` for a part.
soak *tests:
    scripts/soak {{ tests }}

# The main job: `just quickstart --runs 100000`.
quickstart *options:
    cargo run -p quickstart -- {{ options }}

# Ratios to what people use today, against their aims: `just bench --json` prints one object.
bench *options:
    scripts/bench {{ options }}

# The same with five times as many windows, and how costs grow with strategies and nodes.
bench-full *options:
    scripts/bench --full {{ options }}

# Nanoseconds a run: not kept, kept, failed, against the same instruments called by hand.
bench-hot-path:
    cargo bench -p obs-core --bench hot_path

# Rows a second into Postgres and SQLite, against COPY, UNNEST and row by row by hand: `--full`, `--json`.
bench-drain *options:
    cargo bench -p obs-persist --bench drain -- {{ options }}

# Every interleaving with at most three interruptions: ledger, values that threads have for themselves, slot: `just loom slot`.
loom *models:
    cargo run --release --locked --manifest-path crates/obs-core/loom/Cargo.toml --target-dir target/loom -- {{ models }}

# Random schedules of the worker, the lanes, flushes and shutdowns: `just shuttle 10000 spooled`.
shuttle *options:
    cargo run --release --locked --manifest-path crates/obs-persist/shuttle/Cargo.toml --target-dir target/shuttle -- {{ options }}

# Bytes and texts from anywhere, guided by the paths they take, 30 s for each target: `just fuzz recover`.
fuzz *targets:
    scripts/fuzz {{ targets }}

# What the tests would not notice: mutants of the ledger, the spool and the encoder, in a copy of the tree.
mutants *options:
    scripts/mutants {{ options }}

# Instructions a run, against the bounds: `just instructions --accept not-kept` after a wanted change.
instructions *options:
    scripts/instructions {{ options }}

# Writes docs/configuration.md and docs/obs.schema.json from the types of the settings.
configuration:
    OBS_TEST_REGENERATE=1 cargo test -p obs --lib config::file::tests::keys

# Builds the real Collector if need be, and runs it until it is interrupted.
collector *options:
    exec "$(scripts/build-collector)" --config=otel-collector/config.yaml {{ options }}

# Writes what is made from registry/: constants, docs/metrics.md, Prometheus rules, dashboards.
registry:
    cargo run -p obs-stack --locked

# The whole stack: what programs print is what Prometheus has, also after kills; ~4 minutes. `just e2e quickstart` for a part.
e2e *tests:
    scripts/e2e {{ tests }}

# Past one machine: Kafka brokers and Thanos receivers on loopback, killed under load; `just scale kafka` for a part.
scale *tests:
    scripts/scale {{ tests }}

# Users on examples/axum-service: mix, warm-up, hold, thresholds, ledger, totals in Prometheus; ~3 minutes, starts all of it.
# `just load --users 1000`; `just load --target HOST:PORT` drives what listens there, and starts nothing.
load *options:
    scripts/load {{ options }}
