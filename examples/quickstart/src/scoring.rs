//! The instrumented part: every run of a rule goes through its strategy's `observe`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use obs::{BuildError, ErrorStatus, Kind, KindSpec, RunError, Status, Strategy, Telemetry};

use crate::{
    engine::Engine,
    error::{ErrorCode, ScoreError},
    plan::Step,
    rules::Rule,
};

/// What the runs of this program are called on metrics and in rows.
pub(crate) const KIND: &str = "quake.rule";
const REALM: &str = "usgs";

/// The rules with their strategies.
#[derive(Debug)]
pub(crate) struct Scoring {
    engine: Engine,
    watched: Vec<Watched>,
}

/// A rule, and the strategy through which its runs are seen.
#[derive(Debug)]
struct Watched {
    rule: Rule,
    strategy: Strategy,
    /// Nodes by the status of their run. obs measures nodes too, but not apart by status.
    nodes: Mutex<BTreeMap<&'static str, u64>>,
}

impl Scoring {
    /// # Errors
    /// When a name or version of a rule is not one that obs takes.
    pub(crate) fn new(
        telemetry: &Telemetry,
        engine: Engine,
        rules: Vec<Rule>,
    ) -> Result<Self, BuildError> {
        // With six strategies, their ids can be labels; usually only rows carry them.
        let codes = ErrorCode::ALL.map(ErrorCode::as_str);
        let kind =
            telemetry.define_kind(KindSpec::new(KIND).label_strategy(true).error_types(codes))?;
        let watched =
            rules.into_iter().map(|rule| Watched::new(&kind, rule)).collect::<Result<_, _>>()?;
        Ok(Self { engine, watched })
    }

    /// One run. Its end, good or bad, is for obs to tell; this program only makes runs.
    pub(crate) fn run(&self, step: Step) {
        let Watched { rule, strategy, nodes } = &self.watched[step.rule];
        let event = &self.engine.events()[step.event];
        let mut seen = 0;
        let result: Result<f64, ScoreError> = strategy.observe(event, |run| {
            run.subject(&event.facts.net).correlation_id(&event.id);
            let score = self.engine.score(rule, step.event, |node| {
                seen += 1;
                let entry = run.node(node.id).kind(node.kind).value(node.value);
                if let Some(branch) = node.branch {
                    entry.branch(branch);
                }
            })?;
            run.value(score);
            if let Some(case) = rule.case(score) {
                run.case(case);
            }
            Ok(score)
        });
        let status = result.as_ref().map_or_else(|error| error.status().into(), |_| Status::Ok);
        let mut nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner);
        *nodes.entry(status.as_str()).or_default() += seen;
    }

    /// The nodes of all runs of one strategy version with this status.
    pub(crate) fn nodes(&self, strategy: &str, version: &str, status: &str) -> u64 {
        let is_it = |watched: &&Watched| {
            watched.rule.strategy == strategy && watched.rule.version == version
        };
        let Some(watched) = self.watched.iter().find(is_it) else { return 0 };
        let nodes = watched.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(status).copied().unwrap_or(0)
    }
}

impl Watched {
    fn new(kind: &Kind, rule: Rule) -> Result<Self, BuildError> {
        let strategy = kind
            .strategy(&rule.strategy)
            .version(&rule.version)
            .type_(&rule.type_)
            .realm(REALM)
            .build()?;
        Ok(Self { rule, strategy, nodes: Mutex::default() })
    }
}

impl RunError for ScoreError {
    fn status(&self) -> ErrorStatus {
        match self.code {
            ErrorCode::NodeLimit => ErrorStatus::Limit,
            _ => ErrorStatus::Error,
        }
    }

    fn error_type(&self) -> Cow<'_, str> {
        self.code.as_str().into()
    }

    fn message(&self) -> Option<Cow<'_, str>> {
        Some(match self.detail() {
            Some(detail) => format!("{self} ({detail})").into(),
            None => self.to_string().into(),
        })
    }

    fn node(&self) -> Option<Cow<'_, str>> {
        Some((&*self.node).into())
    }
}
