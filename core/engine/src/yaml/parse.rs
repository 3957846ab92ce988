//! How the events of the YAML parser become a tree.

use std::collections::HashMap;

use larder_base::Diagnostic;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle, Tag, options};

use super::node::{Content, Entry, Mark, Node};
use super::syntax;

/// Nodes of one file, aliases expanded: far more than people write, far less than hurts.
const MAX_NODES: usize = 2_000_000;
/// How deep lists and maps may nest, aliases expanded.
const MAX_DEPTH: usize = 100;

/// The documents of a file; an empty file has none.
///
/// # Errors
/// The first mistake that keeps the text from being YAML, a key that stands twice in a map, or
/// aliases that blow up.
pub fn parse(file: &str, text: &str) -> Result<Vec<Node>, Diagnostic> {
    let mut builder = Builder {
        file,
        documents: Vec::new(),
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut limits = options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    limits.set_emit_comments(false);
    for event in Parser::new_from_str_with_options(text, limits) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let open = builder.stack.last().filter(|frame| frame.flow);
                let open = open.map(|frame| (frame.mark, matches!(frame.open, Open::List(_))));
                return Err(syntax::explain(file, text, &error, open));
            }
        };
        builder.event(event, &span)?;
    }
    Ok(builder.documents)
}

struct Builder<'a> {
    file: &'a str,
    documents: Vec<Node>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// A list or map that is not closed yet.
struct Frame {
    mark: Mark,
    anchor: usize,
    flow: bool,
    open: Open,
}

/// A map that is not closed yet.
#[derive(Default)]
struct OpenMap {
    entries: Vec<Entry>,
    /// The key that waits for its value.
    key: Option<(Box<str>, Mark)>,
    /// The index of a `<<`, where there is one without quotes.
    merge: Option<usize>,
}

enum Open {
    List(Vec<Node>),
    Map(OpenMap),
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Diagnostic> {
        let mark = mark_of(span);
        let tag_mark = span
            .tag_start()
            .map_or(mark, |start| self::mark(start.line(), start.col()));
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), mark, tag_mark)?;
                self.close(node, anchor)
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.core_tag(tag.as_deref(), "seq", tag_mark)?;
                self.open(mark, anchor, style, Open::List(Vec::new()))
            }
            Event::MappingStart(style, anchor, tag) => {
                self.core_tag(tag.as_deref(), "map", tag_mark)?;
                self.open(mark, anchor, style, Open::Map(OpenMap::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.stack.pop() else {
                    return Ok(());
                };
                let content = match frame.open {
                    Open::List(items) => Content::List(items),
                    Open::Map(map) => Content::Map(self.entries(map, frame.flow)?),
                };
                self.close(Node::collection(frame.mark, content), frame.anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(self.at(mark, "an alias stands inside of what it refers to"));
                };
                let (nodes, depth) = size(node);
                self.nodes += nodes;
                if self.stack.len() + depth > MAX_DEPTH {
                    return Err(self.at(mark, format!("lists and maps nest deeper than {MAX_DEPTH}")));
                }
                if self.nodes > MAX_NODES {
                    return Err(self.at(mark, format!("aliases expand to more than {MAX_NODES} values")));
                }
                let node = node.clone();
                self.close(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn at(&self, mark: Mark, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(message).at(Some(mark.in_file(self.file)))
    }

    fn open(
        &mut self,
        mark: Mark,
        anchor: usize,
        style: StructureStyle,
        open: Open,
    ) -> Result<(), Diagnostic> {
        if let Some(Frame {
            open: Open::Map(OpenMap { key: None, .. }),
            ..
        }) = self.stack.last()
        {
            // `{ {{ a }} }` and `[a]: b`; what people mean is nearly always a template.
            return Err(self
                .at(mark, "a list or map stands where a key is expected")
                .help("text that begins with `{` or `[` needs quotes"));
        }
        let flow = style == StructureStyle::Flow;
        self.stack.push(Frame {
            mark,
            anchor,
            flow,
            open,
        });
        Ok(())
    }

    /// A node is complete: it becomes a key, a value, an item or a document.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.at(node.mark, format!("the file has more than {MAX_NODES} values")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let file = self.file;
        match self.stack.last_mut().map(|frame| &mut frame.open) {
            None => self.documents.push(node),
            Some(Open::List(items)) => items.push(node),
            Some(Open::Map(map)) => match map.key.take() {
                Some((key, key_mark)) => map.entries.push(Entry {
                    key,
                    key_mark,
                    value: node,
                }),
                None => match node.as_text() {
                    Some(text) => {
                        if node.plain && text == "<<" {
                            map.merge = Some(map.entries.len());
                        }
                        map.key = Some((node.text, node.mark));
                    }
                    None => {
                        let message = match node.content {
                            Content::Null => "a key is empty",
                            _ => "a key must be text",
                        };
                        return Err(Diagnostic::new(message).at(Some(node.mark.in_file(file))));
                    }
                },
            },
        }
        Ok(())
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        mark: Mark,
        tag_mark: Mark,
    ) -> Result<Node, Diagnostic> {
        let plain = style == ScalarStyle::Plain;
        let Some(tag) = tag else {
            return Ok(Node::scalar(mark, text, plain));
        };
        match tag.core_suffix() {
            Some("str") => Ok(Node::scalar(mark, text, false)),
            Some("int" | "float" | "bool" | "null") => Ok(Node::scalar(mark, text, true)),
            _ if tag.suffix().is_empty() => Ok(Node::scalar(mark, text, false)),
            _ => Err(self.foreign_tag(tag, tag_mark)),
        }
    }

    fn core_tag(&self, tag: Option<&Tag>, suffix: &str, mark: Mark) -> Result<(), Diagnostic> {
        match tag {
            Some(tag) if tag.core_suffix() != Some(suffix) => Err(self.foreign_tag(tag, mark)),
            _ => Ok(()),
        }
    }

    fn foreign_tag(&self, tag: &Tag, mark: Mark) -> Diagnostic {
        self.at(mark, format!("the tag `{}` means nothing here", tag.original()))
            .help("text that begins with `!` needs quotes")
    }

    /// Checks and completes the entries of a map that is closed now.
    fn entries(&self, map: OpenMap, flow: bool) -> Result<Vec<Entry>, Diagnostic> {
        let OpenMap {
            mut entries, merge, ..
        } = map;
        if flow {
            self.cut_at_comma(&entries)?;
        }
        self.unique(&entries)?;
        if let Some(at) = merge {
            let merged = entries.remove(at).value;
            let maps: &[Node] = match &merged.content {
                Content::Map(_) => std::slice::from_ref(&merged),
                Content::List(items) if items.iter().all(|item| matches!(item.content, Content::Map(_))) => {
                    items
                }
                _ => return Err(self.at(merged.mark, format!("`<<` merges maps, found {}", merged.kind()))),
            };
            for entry in maps.iter().flat_map(Node::entries) {
                if !entries.iter().any(|own| own.key == entry.key) {
                    entries.push(entry.clone());
                }
            }
        }
        Ok(entries)
    }

    fn unique(&self, entries: &[Entry]) -> Result<(), Diagnostic> {
        let twice = |first: &Entry, second: &Entry| {
            self.at(second.key_mark, format!("the key `{}` stands twice", second.key))
                .help(format!("the first is in line {}", first.key_mark.line))
        };
        // Nearly all maps are small, and then comparing beats hashing.
        if entries.len() <= 24 {
            for (i, second) in entries.iter().enumerate() {
                if let Some(first) = entries[..i].iter().find(|first| first.key == second.key) {
                    return Err(twice(first, second));
                }
            }
            return Ok(());
        }
        let mut seen: HashMap<&str, &Entry> = HashMap::with_capacity(entries.len());
        for second in entries {
            if let Some(first) = seen.insert(&second.key, second) {
                return Err(twice(first, second));
            }
        }
        Ok(())
    }

    /// `{ type: decimal(10,2) }` is three keys to YAML; say so instead of reporting the pieces.
    fn cut_at_comma(&self, entries: &[Entry]) -> Result<(), Diagnostic> {
        for pair in entries.windows(2) {
            let (value, next) = (&pair[0].value, &pair[1]);
            let open = |text: &str| text.matches('(').count() > text.matches(')').count();
            if value.plain && open(&value.text) && next.value.is_null() && next.key.contains(')') {
                return Err(self
                    .at(value.mark, format!("`{}` ends at the comma", value.text))
                    .help(format!(
                        "inside of {{ }} it needs quotes: \"{},{}\"",
                        value.text, next.key
                    )));
            }
        }
        Ok(())
    }
}

/// Number of nodes in a tree and how deep it is.
fn size(node: &Node) -> (usize, usize) {
    let add = |(nodes, depth): (usize, usize), child: &Node| {
        let (more, below) = size(child);
        (nodes + more, depth.max(below + 1))
    };
    match &node.content {
        Content::List(items) => items.iter().fold((1, 1), add),
        Content::Map(entries) => entries.iter().map(|entry| &entry.value).fold((1, 1), add),
        _ => (1, 0),
    }
}

fn mark_of(span: &Span) -> Mark {
    mark(span.start.line(), span.start.col())
}

/// The YAML crate counts lines from 1 and columns from 0.
pub(super) fn mark(line: usize, column: usize) -> Mark {
    Mark {
        line: u32::try_from(line).unwrap_or(u32::MAX).max(1),
        column: u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1),
    }
}
