//! Route templates: bounded, because a closure that returns raw paths must not become a series each.

use std::{
    collections::HashSet,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// What stands for every template beyond [`ROUTES_MAX`].
pub(crate) const OTHER: &str = "_OTHER";

/// Distinct route templates; the rest folds to `_OTHER`. With a few methods and statuses each, the
/// series stay below the 2,000 that OpenTelemetry allows by default.
pub const ROUTES_MAX: usize = 200;

/// A route template is at most this long, in bytes; the rest is cut off.
pub const ROUTE_BYTES_MAX: usize = 256;

/// The templates that were seen.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: RwLock<HashSet<Arc<str>>>,
    folded: AtomicU64,
}

impl Routes {
    /// The template as it stands on metrics and in rows.
    pub(crate) fn admit(&self, template: &str) -> Arc<str> {
        let template = clean(template);
        let template = template.as_ref();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(template) {
            return Arc::clone(known);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(template) {
            return Arc::clone(known);
        }
        if known.len() >= ROUTES_MAX {
            self.folded.fetch_add(1, Ordering::Relaxed);
            return OTHER.into();
        }
        let template: Arc<str> = template.into();
        known.insert(Arc::clone(&template));
        template
    }

    /// Requests whose template was folded.
    pub(crate) fn folded(&self) -> u64 {
        self.folded.load(Ordering::Relaxed)
    }
}

fn clean(template: &str) -> std::borrow::Cow<'_, str> {
    let template = &template[..template.floor_char_boundary(ROUTE_BYTES_MAX)];
    if template.contains(char::is_control) {
        template.chars().filter(|c| !c.is_control()).collect::<String>().into()
    } else {
        template.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_past_the_last_one_folds_and_is_counted_and_known_ones_do_not() {
        let routes = Routes::default();
        for number in 0..ROUTES_MAX {
            assert_eq!(&*routes.admit(&format!("/{number}")), format!("/{number}"));
        }
        assert_eq!(routes.folded(), 0);
        assert_eq!(&*routes.admit("/one-more"), OTHER);
        assert_eq!(&*routes.admit("/0"), "/0");
        assert_eq!(routes.folded(), 1);
    }

    #[test]
    fn templates_are_cut_and_have_no_control_characters() {
        let routes = Routes::default();
        assert_eq!(routes.admit(&"ü".repeat(200)).len(), ROUTE_BYTES_MAX);
        assert_eq!(&*routes.admit("/a\u{1b}[31m\n"), "/a[31m");
    }
}
