//! A small shop: two strategies behind two routes. Everything about obs is in `main` and in [`observed`].

mod shop;

use std::{env, error::Error, sync::Arc, time::Duration};

use axum::Router;
use obs::{
    KeepPolicy, Telemetry,
    http::{Access, Endpoints, HttpLayer, RequestRecords, Runtime, for_axum, otel::HttpMetrics},
    otel::meter_provider,
};
use opentelemetry::metrics::MeterProvider as _;
use shop::Shop;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Arc::new(obs::builder().snapshots(true).logs(true).init()?);
    let app = observed(shop::routes(Shop::new(&telemetry)?), &telemetry)?;

    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    tracing::info!(address = %listener.local_addr()?, "open");
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;

    let report = telemetry.shutdown(Duration::from_secs(5)).await;
    tracing::info!(%report, "closed");
    Ok(())
}

/// What a service adds to its routes: measurements, rows, ids and traces of requests, and `/healthz`, `/readyz`,
/// `/runtime`, `/ledger` and `/metrics`.
fn observed(app: Router, telemetry: &Arc<Telemetry>) -> Result<Router, Box<dyn Error>> {
    let (meter, shown) = (meter_provider(telemetry).meter("shop"), Arc::clone(telemetry));
    let runtime = Runtime::of(telemetry.obs());
    let layer = HttpLayer::builder()
        .metrics(HttpMetrics::new(&meter))
        .records(RequestRecords::new(telemetry.obs(), KeepPolicy::default())?)
        .propagation(telemetry.propagation())
        .runtime(&runtime);
    // Who reaches the shop reads these too; elsewhere use `Access::token`.
    let endpoints = Endpoints::builder(Access::Open)
        .obs(telemetry.obs())
        .runtime(&runtime)
        .metrics(move |format| shown.metrics_text(format));
    Ok(app.merge(for_axum::router(&endpoints.build())).layer(layer.build()))
}

async fn interrupted() {
    // Without a handler the process ends at once, which loses no row of an error either.
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::warn!(%error, "no handler for an interrupt");
        std::future::pending::<()>().await;
    }
}
