//! What the shop does, and what of it is a run: a price, and what a parcel costs.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use obs::{BuildError, RunError, Strategy, Telemetry};
use serde::Deserialize;
use serde_json::json;

/// What the shop knows, and its strategies.
#[derive(Clone)]
pub(crate) struct Shop {
    pricing: Strategy,
    shipping: Strategy,
    stock: Arc<[(&'static str, f64, u32)]>,
}

/// Why somebody gets no answer that they like.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShopError {
    #[error("there is no {0} here")]
    NoSuchItem(String),
    #[error("no parcel goes to {0}")]
    NoSuchCountry(String),
}

impl RunError for ShopError {
    fn error_type(&self) -> Cow<'_, str> {
        match self {
            Self::NoSuchItem(_) => "NO_SUCH_ITEM".into(),
            Self::NoSuchCountry(_) => "NO_SUCH_COUNTRY".into(),
        }
    }

    fn message(&self) -> Option<Cow<'_, str>> {
        Some(self.to_string().into())
    }
}

impl IntoResponse for ShopError {
    fn into_response(self) -> Response {
        (StatusCode::NOT_FOUND, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

impl Shop {
    pub(crate) fn new(telemetry: &Telemetry) -> Result<Self, BuildError> {
        let kind = telemetry.kind("shop");
        Ok(Self {
            pricing: kind.strategy("pricing").version("2").build()?,
            shipping: kind.strategy("shipping").version("1").build()?,
            stock: [("chair", 49.0, 12), ("table", 190.0, 2), ("lamp", 25.0, 0)].into(),
        })
    }

    /// The price of an item; the last pieces cost more.
    async fn price(&self, item: &str) -> Result<f64, ShopError> {
        self.pricing
            .observe_async(item, async |run| {
                // As if another service were asked.
                tokio::time::sleep(Duration::from_millis(3)).await;
                run.node("stock").kind("look-up");
                let known = self.stock.iter().find(|(name, ..)| *name == item);
                let (_, price, left) =
                    known.ok_or_else(|| ShopError::NoSuchItem(item.to_owned()))?;
                let scarce = *left < 5;
                run.node("scarce?").branch(if scarce { "yes" } else { "no" }).value(left);
                let price = if scarce { price * 1.2 } else { *price };
                tracing::info!(item, price, "priced");
                run.value(price).case(if scarce { "scarce" } else { "usual" });
                Ok(price)
            })
            .await
    }

    /// What a parcel costs.
    fn parcel(&self, country: &str) -> Result<f64, ShopError> {
        self.shipping.observe(country, |run| {
            let cost = match country {
                "at" | "de" => 5.0,
                "is" => 19.5,
                _ => {
                    tracing::warn!(country, "nobody brings it there");
                    return Err(ShopError::NoSuchCountry(country.to_owned()));
                }
            };
            run.value(cost);
            Ok(cost)
        })
    }
}

pub(crate) fn routes(shop: Shop) -> Router {
    Router::new()
        .route("/price/{item}", get(price))
        .route("/parcel/{country}", get(parcel))
        .route("/orders", post(order))
        .with_state(shop)
}

async fn price(State(shop): State<Shop>, Path(item): Path<String>) -> Result<Response, ShopError> {
    let price = shop.price(&item).await?;
    Ok(Json(json!({ "item": item, "price": price })).into_response())
}

async fn parcel(
    State(shop): State<Shop>,
    Path(country): Path<String>,
) -> Result<Response, ShopError> {
    let cost = shop.parcel(&country)?;
    Ok(Json(json!({ "country": country, "cost": cost })).into_response())
}

/// What somebody wants, and where to.
#[derive(Deserialize)]
struct Order {
    item: String,
    country: String,
}

/// A price and a parcel: two runs below one request.
async fn order(State(shop): State<Shop>, Json(order): Json<Order>) -> Result<Response, ShopError> {
    let total = shop.price(&order.item).await? + shop.parcel(&order.country)?;
    Ok((StatusCode::CREATED, Json(json!({ "total": total }))).into_response())
}
