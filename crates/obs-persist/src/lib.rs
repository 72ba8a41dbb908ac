//! The worker behind obs.
