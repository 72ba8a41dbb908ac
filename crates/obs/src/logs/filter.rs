//! Which events become lines: `info,hyper=warn,orders::db=debug`.

use std::str::FromStr as _;

use tracing::{Level, Metadata, Subscriber, metadata::LevelFilter};
use tracing_subscriber::layer::{Context, Filter as LayerFilter};

/// Directives of one setting.
const DIRECTIVES_MAX: usize = 64;
/// Of a bad one in a message.
const SHOWN_CHARS_MAX: usize = 64;

/// A level for everything, and others for targets that begin as stated; the longest that fits decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    default: LevelFilter,
    /// The longest first.
    targets: Vec<(String, LevelFilter)>,
}

/// How strictly directives are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// A word alone is a level, so that a misspelt one is no target.
    Ours,
    /// As everybody's `RUST_LOG`: a word alone that is no level is a target, with all its events.
    Everybodys,
}

impl Default for Filter {
    fn default() -> Self {
        Self { default: LevelFilter::INFO, targets: Vec::new() }
    }
}

impl Filter {
    /// Reads directives. The error is the rule that was broken, with the directive.
    pub(crate) fn parse(text: &str, dialect: Dialect) -> Result<Self, String> {
        let mut default = None;
        let mut targets: Vec<(String, LevelFilter)> = Vec::new();
        let directives = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        for (nth, directive) in directives.enumerate() {
            if nth == DIRECTIVES_MAX {
                return Err(format!("more than {DIRECTIVES_MAX} directives: leave some out"));
            }
            match directive_of(directive, dialect)? {
                (None, level) => default = Some(level),
                (Some(target), level) => {
                    targets.retain(|(known, _)| known != target);
                    targets.push((target.to_owned(), level));
                }
            }
        }
        targets.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        // Who names targets only wants nothing else, but for what is wrong.
        let rest = if targets.is_empty() { LevelFilter::INFO } else { LevelFilter::ERROR };
        Ok(Self { default: default.unwrap_or(rest), targets })
    }

    /// Our own lines from this level on, unless a directive says otherwise of them.
    pub(crate) fn own_from(&mut self, level: Level) {
        for own in super::own::CRATES {
            if !self.targets.iter().any(|(known, _)| known == own) {
                self.targets.push((own.to_owned(), level.into()));
            }
        }
        self.targets.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
    }

    fn level_of(&self, target: &str) -> LevelFilter {
        let fits = |known: &str| {
            target.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let known = self.targets.iter().find(|(known, _)| fits(known));
        known.map_or(self.default, |(_, level)| *level)
    }

    pub(crate) fn admits(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level_of(metadata.target())
    }
}

fn directive_of(directive: &str, dialect: Dialect) -> Result<(Option<&str>, LevelFilter), String> {
    let shown: String = directive.chars().take(SHOWN_CHARS_MAX).collect();
    if directive.contains(['[', ']', '{', '}', '/']) {
        return Err(format!(
            "{shown:?} selects spans, fields or texts, which is not supported: use target=level"
        ));
    }
    match directive.split_once('=') {
        Some((target, level)) => match (target.trim(), level_of(level.trim())) {
            ("", _) => Err(format!("{shown:?} has no target: use target=level")),
            (target, Some(level)) => Ok((Some(target), level)),
            (_, None) => Err(format!(
                "{shown:?} has no such level: use error, warn, info, debug, trace or off"
            )),
        },
        None => match (level_of(directive), dialect) {
            (Some(level), _) => Ok((None, level)),
            (None, Dialect::Everybodys) => Ok((Some(directive), LevelFilter::TRACE)),
            (None, Dialect::Ours) => Err(format!(
                "{shown:?} is no level: use error, warn, info, debug, trace or off, \
                 or put =debug after it if it is a target"
            )),
        },
    }
}

/// By its name only: `LevelFilter` reads numbers and nothing at all, too.
fn level_of(text: &str) -> Option<LevelFilter> {
    let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_word.then(|| LevelFilter::from_str(text).ok())?
}

impl<S: Subscriber> LayerFilter<S> for Filter {
    fn enabled(&self, metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        self.admits(metadata)
    }

    fn callsite_enabled(
        &self,
        metadata: &'static Metadata<'static>,
    ) -> tracing::subscriber::Interest {
        if self.admits(metadata) {
            tracing::subscriber::Interest::always()
        } else {
            tracing::subscriber::Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.targets.iter().map(|(_, level)| *level).chain([self.default]).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(text: &str) -> Result<Filter, String> {
        Filter::parse(text, Dialect::Ours)
    }

    #[test]
    fn the_longest_target_that_fits_decides_and_only_whole_names_fit() {
        let filter = ours("info, hyper=warn, orders::db=debug,orders=off").unwrap();
        for (target, level) in [
            ("anything", LevelFilter::INFO),
            ("hyper", LevelFilter::WARN),
            ("hyper::client", LevelFilter::WARN),
            ("hyperion", LevelFilter::INFO),
            ("orders::db::pool", LevelFilter::DEBUG),
            ("orders::api", LevelFilter::OFF),
        ] {
            assert_eq!(filter.level_of(target), level, "{target}");
        }
        assert_eq!(ours("").unwrap(), Filter::default());
        assert_eq!(ours("hyper=debug").unwrap().level_of("else"), LevelFilter::ERROR);
        assert_eq!(ours("a=info,a=warn").unwrap().level_of("a"), LevelFilter::WARN);
    }

    #[test]
    fn a_bad_directive_is_an_error_that_names_it_and_the_way_out() {
        for (text, error) in [
            (
                "inof",
                "\"inof\" is no level: use error, warn, info, debug, trace or off, or put =debug after it if it is a target",
            ),
            (
                "info,hyper=loud",
                "\"hyper=loud\" has no such level: use error, warn, info, debug, trace or off",
            ),
            ("hyper=", "\"hyper=\" has no such level: use error, warn, info, debug, trace or off"),
            ("=info", "\"=info\" has no target: use target=level"),
            (
                "3",
                "\"3\" is no level: use error, warn, info, debug, trace or off, or put =debug after it if it is a target",
            ),
            (
                "a[span]=info",
                "\"a[span]=info\" selects spans, fields or texts, which is not supported: use target=level",
            ),
        ] {
            assert_eq!(ours(text), Err(error.to_owned()), "{text}");
        }
        let many = vec!["a=info"; DIRECTIVES_MAX].join(",");
        assert!(ours(&many).is_ok());
        assert_eq!(
            ours(&(many + ",b=info")).unwrap_err(),
            "more than 64 directives: leave some out"
        );
    }

    #[test]
    fn our_own_lines_may_have_a_level_of_their_own() {
        let mut filter = ours("info,obs_http=debug").unwrap();
        filter.own_from(Level::ERROR);
        for (target, level) in [
            ("obs", LevelFilter::ERROR),
            ("obs_persist::worker", LevelFilter::ERROR),
            ("obs_http", LevelFilter::DEBUG),
            ("observatory", LevelFilter::INFO),
        ] {
            assert_eq!(filter.level_of(target), level, "{target}");
        }
    }

    #[test]
    fn a_word_alone_is_a_target_in_the_variable_that_others_read_too() {
        let filter = Filter::parse("hyper", Dialect::Everybodys).unwrap();
        assert_eq!(filter.level_of("hyper"), LevelFilter::TRACE);
        assert_eq!(filter.level_of("else"), LevelFilter::ERROR);
    }
}
