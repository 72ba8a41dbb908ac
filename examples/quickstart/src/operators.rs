//! What the rules may say beyond JSONLogic: `node`, which makes a step visible, and `need`.

use datalogic_rs::{
    CustomOperator, DataValue, Error, Result, bumpalo::Bump, operator::EvalContext,
};
use scoped_tls_hkt::scoped_thread_local;

/// Whoever watches the run that is evaluated on this thread.
pub(crate) trait Watch {
    /// A node has its value.
    ///
    /// # Errors
    /// Whatever is returned ends the evaluation.
    fn node(&mut self, id: &str, value: &DataValue<'_>) -> Result<()>;
}

scoped_thread_local! {
    // Operators are registered once and called with arguments only, so the run of the moment
    // has to wait for them here. The scope ends with the evaluation, also when that unwinds.
    static mut WATCH: for<'a> &'a mut (dyn Watch + 'a)
}

/// Runs `evaluate` with `watch` seeing each of its nodes.
pub(crate) fn watched<T>(watch: &mut dyn Watch, evaluate: impl FnOnce() -> T) -> T {
    WATCH.set(watch, evaluate)
}

/// `{"node": [id, expression]}`: the value of the expression, which the watcher has seen.
pub(crate) struct Node;

impl CustomOperator for Node {
    fn evaluate<'a>(
        &self,
        args: &[&'a DataValue<'a>],
        _context: &mut EvalContext<'_, 'a>,
        _arena: &'a Bump,
    ) -> Result<&'a DataValue<'a>> {
        let &[&DataValue::String(id), value] = args else {
            return Err(Error::invalid_arguments("`node` takes an id and one expression"));
        };
        WATCH.with(|watch| watch.node(id, value))?;
        Ok(value)
    }
}

/// `{"need": field}`: a field of the event, or an error where it is missing or null.
///
/// Plain `{"var": field}` gives null, and null is a fine answer in a comparison.
pub(crate) struct Need;

impl CustomOperator for Need {
    fn evaluate<'a>(
        &self,
        args: &[&'a DataValue<'a>],
        context: &mut EvalContext<'_, 'a>,
        _arena: &'a Bump,
    ) -> Result<&'a DataValue<'a>> {
        let (&[&DataValue::String(field)], DataValue::Object(event)) = (args, context.root_input())
        else {
            return Err(Error::invalid_arguments(
                "`need` takes the name of one field of the event",
            ));
        };
        event
            .iter()
            .find(|(name, value)| *name == field && !value.is_null())
            .map(|(_, value)| value)
            .ok_or_else(|| Error::variable_not_found(field.to_owned()))
    }
}
