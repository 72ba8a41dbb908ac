//! Programs, Collectors, Prometheus and Postgres together: what arrives is what the programs say. Minutes long, so run by
//! `just e2e`.

mod dashboards;
mod faults;
mod load;
mod many;
mod quickstart;
mod seeds;
mod spans;
mod suite;
mod tls;
