//! YAML text becomes a tree whose nodes know their lines. Limits hold before anything is believed.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::{de::Problem, substitute::substitute};
use crate::config::Environment;

/// Values, lists and groups of one file, those that aliases repeat included.
const NODES_MAX: usize = 20_000;
/// Groups and lists inside each other.
const DEPTH_MAX: usize = 32;
/// Bytes of all texts of one file, after `${…}`.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// A value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    /// Keys in the order of the file, each once.
    Group(Vec<(Key, Node)>),
}

/// A key, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) line: usize,
    pub(super) name: String,
}

/// A single value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scalar {
    /// After `${…}` was replaced.
    pub(super) text: String,
    /// As it is in the file: what a message may show.
    pub(super) raw: String,
    /// Without quotes, so that it may be a number, a switch or nothing.
    pub(super) plain: bool,
}

impl Node {
    /// The value below these keys, of which `[0]` is the first entry of a list.
    pub(super) fn at<'a>(&self, mut keys: impl Iterator<Item = &'a str>) -> Option<&Self> {
        keys.try_fold(self, |node, key| match &node.content {
            Content::Group(entries) => {
                entries.iter().find(|(name, _)| name.name == key).map(|(_, value)| value)
            }
            Content::List(nodes) => {
                let index = key.strip_prefix('[').and_then(|key| key.strip_suffix(']'))?;
                nodes.get(index.parse::<usize>().ok()?)
            }
            Content::Scalar(_) => None,
        })
    }

    /// Nothing at all: the key counts as absent.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if scalar.is_null())
    }
}

impl Scalar {
    pub(super) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

/// Reads one document.
pub(super) fn read(text: &str, environment: &Environment) -> Result<Node, Problem> {
    let mut builder = Builder {
        environment,
        open: Vec::new(),
        anchors: Vec::new(),
        root: None,
        nodes: 0,
        bytes: 0,
    };
    let mut documents = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let line = error.marker().line();
            Problem::at(line, format!("is not YAML: {}", error.info()))
        })?;
        if let Event::DocumentStart(_) = event {
            documents += 1;
            if documents > 1 {
                return Err(Problem::at(
                    span.start.line(),
                    "a second document begins here: a file holds one",
                ));
            }
        }
        builder.take(event, span)?;
    }
    builder.root.ok_or_else(|| Problem::at(1, "is empty: begin it with file_format: \"1.0\""))
}

/// A group or a list that has not ended.
struct Open {
    anchor: usize,
    node: Node,
    /// The key that waits for its value.
    key: Option<Key>,
}

struct Builder<'a> {
    environment: &'a Environment,
    open: Vec<Open>,
    anchors: Vec<(usize, Node)>,
    root: Option<Node>,
    nodes: usize,
    bytes: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = self.scalar(&text, (style, tag.as_deref()), line)?;
                let node = Node { line, content: Content::Scalar(scalar) };
                self.complete(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "seq", line)?;
                self.begin(Content::List(Vec::new()), anchor, line)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "map", line)?;
                self.begin(Content::Group(Vec::new()), anchor, line)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.complete(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let found = self.anchors.iter().find(|(id, _)| *id == anchor);
                let Some((_, node)) = found else {
                    return Err(Problem::at(line, "an alias inside what it names: write it out"));
                };
                let node = node.clone();
                self.count(&node)?;
                self.complete(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        (style, tag): (ScalarStyle, Option<&Tag>),
        line: usize,
    ) -> Result<Scalar, Problem> {
        let is_key = self.open.last().is_some_and(|open| {
            open.key.is_none() && matches!(open.node.content, Content::Group(_))
        });
        let is_text = matches!(tag, Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str");
        if !is_text {
            refuse_tag(tag, "str", line)?;
        }
        let replaced = if is_key {
            text.to_owned()
        } else {
            substitute(text, self.environment)
                .map_err(|rule| Problem::at(line, rule).of_value(text))?
        };
        self.bytes += replaced.len();
        self.one_more(line)?;
        let plain = style == ScalarStyle::Plain && !is_text;
        Ok(Scalar { text: replaced, raw: text.to_owned(), plain })
    }

    fn begin(&mut self, content: Content, anchor: usize, line: usize) -> Result<(), Problem> {
        self.one_more(line)?;
        if self.open.len() == DEPTH_MAX {
            return Err(Problem::at(
                line,
                format!("is deeper than {DEPTH_MAX} levels: nothing here is"),
            ));
        }
        self.open.push(Open { anchor, node: Node { line, content }, key: None });
        Ok(())
    }

    fn one_more(&mut self, line: usize) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || self.bytes > TEXT_BYTES_MAX {
            return Err(Problem::at(
                line,
                format!(
                    "the file says more than {NODES_MAX} values or {TEXT_BYTES_MAX} bytes: repeat less"
                ),
            ));
        }
        Ok(())
    }

    /// What an alias repeats counts as if it were written out.
    fn count(&mut self, node: &Node) -> Result<(), Problem> {
        self.one_more(node.line)?;
        match &node.content {
            Content::Scalar(scalar) => {
                self.bytes += scalar.text.len();
                Ok(())
            }
            Content::List(nodes) => nodes.iter().try_for_each(|node| self.count(node)),
            Content::Group(entries) => entries.iter().try_for_each(|(_, node)| self.count(node)),
        }
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if anchor > 0 {
            self.anchors.push((anchor, node.clone()));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.content, open.key.take()) {
            (Content::List(nodes), _) => nodes.push(node),
            (Content::Group(entries), Some(key)) => entries.push((key, node)),
            (Content::Group(entries), None) => {
                let Content::Scalar(scalar) = node.content else {
                    return Err(Problem::at(node.line, "a key is a word: write key: value"));
                };
                let key = Key { line: node.line, name: scalar.text };
                if let Some((first, _)) = entries.iter().find(|(known, _)| known.name == key.name) {
                    let rule =
                        format!("is there already, in line {}: leave one of them out", first.line);
                    return Err(Problem::at(key.line, rule).below(&key.name));
                }
                open.key = Some(key);
            }
            (Content::Scalar(_), _) => {}
        }
        Ok(())
    }
}

fn refuse_tag(tag: Option<&Tag>, usual: &str, line: usize) -> Result<(), Problem> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == usual) => {
            Err(Problem::at(line, format!("has the tag {tag}: leave it out")))
        }
        _ => Ok(()),
    }
}
