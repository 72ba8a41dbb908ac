//! The variables of a batch processor: `OTEL_BSP_*` for spans, `OTEL_BLRP_*` for log records.

use std::time::Duration;

use crate::config::{
    Environment,
    error::ConfigError,
    model::{
        Batch, Exporter,
        tracer::{BATCH_QUEUE_DEFAULT, BATCH_QUEUE_MAX, BATCH_SIZE_DEFAULT, BATCH_TIMEOUT_DEFAULT},
    },
    parse,
};

/// The names of a batch processor's variables, and the default of the delay.
#[derive(Debug)]
pub(super) struct BatchNames {
    pub(super) schedule_delay: (&'static str, Duration),
    pub(super) export_timeout: &'static str,
    pub(super) max_queue_size: &'static str,
    pub(super) max_export_batch_size: &'static str,
}

pub(super) fn batch(
    environment: &Environment,
    names: &BatchNames,
    exporter: Exporter,
) -> Result<Batch, ConfigError> {
    let time = |name, default| {
        let text = environment.get(name)?;
        Ok(text.map(|text| parse::millis(name, text)).transpose()?.unwrap_or(default))
    };
    let count = |name, default| {
        let Some(count) = parse::whole(environment, name)? else { return Ok(default) };
        parse::within(name, count, (1, BATCH_QUEUE_MAX), "a queue and a batch hold at least one")?;
        Ok(count)
    };
    let (delay, delay_default) = names.schedule_delay;
    let max_queue_size = count(names.max_queue_size, BATCH_QUEUE_DEFAULT)?;
    let batch = count(names.max_export_batch_size, BATCH_SIZE_DEFAULT.min(max_queue_size))?;
    if batch > max_queue_size {
        let rule = format!(
            "a batch is no larger than the queue of {max_queue_size}: lower it, or raise {}",
            names.max_queue_size
        );
        return Err(ConfigError::new(names.max_export_batch_size, &batch.to_string(), rule));
    }
    Ok(Batch {
        schedule_delay: time(delay, delay_default)?,
        export_timeout: time(names.export_timeout, BATCH_TIMEOUT_DEFAULT)?,
        max_queue_size,
        max_export_batch_size: batch,
        exporter,
    })
}
