//! YAML text to a tree in which every node knows its place.
//!
//! Why not straight into types: a streaming decoder stops at the first fault of a file, and a
//! tree can be decoded on behind one. Invariant: a tree has bounded depth, and bounded size
//! with all aliases written out. Refuses tags, merge keys, and second documents.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};

use crate::codes;
use crate::diagnostic::{Fault, Mark, lines_of, shown};
use crate::hints;
use crate::report::Report;

/// The language needs ten.
const DEPTH_MAX: usize = 32;
/// Nodes of one file with all aliases written out: ten lines of aliases can stand for billions.
const NODES_MAX: usize = 1_000_000;

/// Part of a file.
#[derive(Debug)]
pub struct Node {
    pub mark: Mark,
    pub value: Value,
    /// Nodes in and below this one, aliases written out.
    pub weight: usize,
    depth: usize,
}

#[derive(Debug)]
pub enum Value {
    /// As written, after unescaping; `plain` is without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Vec<(Key, Rc<Node>)>),
}

#[derive(Debug, Clone)]
pub struct Key {
    pub text: String,
    pub mark: Mark,
}

impl Node {
    /// The same place with another value, as deep and as heavy.
    pub fn with(&self, value: Value) -> Self {
        Self { value, ..*self }
    }

    /// Without a value: `~`, `null`, or nothing at all.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// What it is, for messages.
    pub fn kind(&self) -> String {
        match &self.value {
            _ if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, plain: true } => shown(text),
            Value::Scalar { text, .. } => format!("{} in quotes", shown(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// The tree of a file; none where it is empty or its syntax is broken.
pub fn parse(file: u32, text: &str, report: &mut Report) -> Option<Rc<Node>> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.disallow_directives = true;
    let mut builder = Builder {
        text,
        file,
        report,
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        documents: 0,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let accepted = match event {
            Ok((event, span)) => builder.take(event, builder.mark(&span)),
            Err(error) => {
                builder.syntax(&error);
                Err(Stop)
            }
        };
        if accepted.is_err() {
            return None;
        }
    }
    builder.root
}

/// The comments of a text that `parse` takes, in their order.
pub fn comments(text: &str) -> Vec<String> {
    let mut options = Options::default();
    options.set_emit_comments(true);
    let events = Parser::new_from_str_with_options(text, options);
    let comment = |event| match event {
        Ok((Event::Comment(text, _), _)) => Some(text.trim().to_owned()),
        _ => None,
    };
    events.filter_map(comment).collect()
}

/// The file cannot be read further; why is in the report.
struct Stop;

struct Builder<'r> {
    text: &'r str,
    file: u32,
    report: &'r mut Report,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    documents: usize,
}

/// A list or map that has begun.
struct Open {
    mark: Mark,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Map {
        entries: Vec<(Key, Rc<Node>)>,
        /// Keys so far, and where they are.
        lines: HashMap<String, u32>,
        key: Option<NextKey>,
    },
}

/// The key whose value comes next; that of a repeated one is left out.
enum NextKey {
    First(Key),
    Repeated,
}

impl Builder<'_> {
    fn mark(&self, span: &Span) -> Mark {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let length = if span.start.line() == span.end.line() {
            number(span.end.index().saturating_sub(span.start.index())).max(1)
        } else {
            1
        };
        Mark {
            file: self.file,
            line: number(span.start.line()),
            column: number(span.start.col()).saturating_add(1),
            length,
        }
    }

    fn syntax(&mut self, error: &ScanError) {
        let at = *error.marker();
        let mark = self.mark(&Span::empty(at));
        let at = (mark.line as usize).saturating_sub(1);
        let line = lines_of(self.text).nth(at).unwrap_or("");
        let hint = hints::syntax(&error.info(), line).map(str::to_owned);
        let fault = Fault::new(codes::SYNTAX, format!("not YAML: {}", error.info()));
        self.report.push(mark, fault.maybe_hint(hint));
    }

    fn refuse(&mut self, mark: Mark, message: impl Into<String>) -> Result<(), Stop> {
        self.report
            .push(mark, Fault::new(codes::REFUSED_YAML, message));
        Err(Stop)
    }

    fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Stop> {
        if let Some(tag) = event.tag() {
            let message = format!(
                "tags are not part of the language: {}",
                shown(&tag.original())
            );
            return self.refuse(mark, message);
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.refuse(mark, "a second document in one file");
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                return self.place(
                    Rc::new(Node {
                        mark,
                        value,
                        weight: 1,
                        depth: 1,
                    }),
                    anchor,
                );
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => return self.place(node, 0),
                None => return self.refuse(mark, "an alias inside of its own anchor"),
            },
            Event::SequenceStart(_, anchor, _) => {
                return self.open(mark, anchor, Content::List(Vec::new()));
            }
            Event::MappingStart(_, anchor, _) => {
                let content = Content::Map {
                    entries: Vec::new(),
                    lines: HashMap::new(),
                    key: None,
                };
                return self.open(mark, anchor, content);
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close(),
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, mark: Mark, anchor: usize, content: Content) -> Result<(), Stop> {
        if self.open.len() >= DEPTH_MAX {
            return self.refuse(mark, format!("nested deeper than {DEPTH_MAX}"));
        }
        self.open.push(Open {
            mark,
            anchor,
            content,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let (value, weight, depth) = match open.content {
            Content::List(items) => {
                let (weight, depth) = measure(items.iter());
                (Value::List(items), weight, depth)
            }
            Content::Map { entries, .. } => {
                let (weight, depth) = measure(entries.iter().map(|(_, node)| node));
                (Value::Map(entries), weight, depth)
            }
        };
        if weight > NODES_MAX {
            return self.refuse(
                open.mark,
                format!("more than {NODES_MAX} values with all aliases written out"),
            );
        }
        if depth > DEPTH_MAX {
            return self.refuse(
                open.mark,
                format!("nested deeper than {DEPTH_MAX} with all aliases written out"),
            );
        }
        self.place(
            Rc::new(Node {
                mark: open.mark,
                value,
                weight,
                depth,
            }),
            open.anchor,
        )
    }

    /// Put a complete node where it belongs: key, value, item or root.
    fn place(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Stop> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map {
                entries,
                lines,
                key,
            }) => match key.take() {
                None => *key = Some(new_key(&node, lines, self.report)?),
                Some(NextKey::First(key)) => entries.push((key, node)),
                Some(NextKey::Repeated) => {}
            },
        }
        Ok(())
    }
}

fn new_key(
    node: &Node,
    lines: &mut HashMap<String, u32>,
    report: &mut Report,
) -> Result<NextKey, Stop> {
    let Value::Scalar { text, plain } = &node.value else {
        report.push(
            node.mark,
            Fault::new(
                codes::WRONG_TYPE,
                format!("a key must be text, not {}", node.kind()),
            ),
        );
        return Err(Stop);
    };
    if *plain && text == "<<" {
        let fault = Fault::new(
            codes::REFUSED_YAML,
            "merge keys are not part of the language",
        );
        report.push(
            node.mark,
            fault.hint("an alias as a value works: `request_headers: *common`"),
        );
        return Err(Stop);
    }
    if let Some(line) = lines.get(text) {
        let message = format!(
            "the key {} is written twice, first on line {line}",
            shown(text)
        );
        report.push(node.mark, Fault::new(codes::DUPLICATE_KEY, message));
        return Ok(NextKey::Repeated);
    }
    lines.insert(text.clone(), node.mark.line);
    Ok(NextKey::First(Key {
        text: text.clone(),
        mark: node.mark,
    }))
}

fn measure<'n>(nodes: impl Iterator<Item = &'n Rc<Node>>) -> (usize, usize) {
    nodes.fold((1, 1), |(weight, depth), node| {
        (
            weight.saturating_add(node.weight),
            depth.max(node.depth + 1),
        )
    })
}
