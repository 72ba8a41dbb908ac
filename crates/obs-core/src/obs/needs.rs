//! What the runs of an [`Obs`](crate::Obs) need of it.

use std::{mem, sync::Arc};

use uuid::Uuid;

use crate::{
    capture::{Capture, Shapes},
    clock::Clock,
    in_flight::InFlight,
    ledger::Book,
    policy::InForce,
    recorder::Recorder,
    recording::Recording,
    redact::Rules,
    sampler::Sampler,
    sink::Sink,
    storm::Storms,
    subject::SubjectKey,
};

/// What the runs need. What each of them does comes first and fits into one cache line.
#[repr(C, align(64))]
pub(crate) struct Core {
    pub(crate) book: Arc<Book>,
    pub(crate) clock: Clock,
    pub(crate) sampler: Sampler,
    pub(crate) in_flight: Option<Arc<InFlight>>,
    /// Whether anybody may ask for a run while its body runs: there are slots, or the next is true.
    pub(crate) is_watched: bool,
    /// Whether a thread knows the run in whose body it is.
    pub(crate) current_run: bool,
    pub(crate) recording: Recording,
    pub(crate) policy: InForce,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) epoch: Uuid,
    pub(crate) storms: Storms,
    pub(crate) subject_key: Option<SubjectKey>,
    pub(crate) rules: Rules,
    pub(crate) capture: Capture,
    pub(crate) shapes: Shapes,
}

const _: () = assert!(mem::offset_of!(Core, policy) + InForce::HOT_BYTES <= 64);
