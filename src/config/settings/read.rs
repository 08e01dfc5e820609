//! From the checked tree to settings: a serde deserializer.
//!
//! All statements of one keyword in a block are one field. A scalar takes the last of them, a list all.

use std::borrow::Cow;

use serde::de::value::{Error, StrDeserializer, U32Deserializer, U64Deserializer};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::located::LOCATED;
use super::{RealServer, Settings, VirtualServer};
use crate::config::reader::script_words;
use crate::config::schema::{Block, Content, Form, Keyword, ROOT, Support, Title, today};
use crate::config::source::{Sources, Span, Word};
use crate::config::toml::ENTRIES;
use crate::config::tree::{NodeId, Tree, WordId};
use crate::config::value::{self, NumberError};

/// The schema and the settings disagree.
pub(crate) use serde::de::value::Error as ReadError;

/// Reads the settings, those of virtual servers excepted.
///
/// # Errors
///
/// Only when the schema and the settings disagree, which a test excludes.
pub(crate) fn read(tree: &Tree, sources: &Sources) -> Result<Settings, Error> {
    let input = Input { tree, sources };
    Settings::deserialize(Item::Block(BlockItem { input, block: &ROOT, heads: None }))
}

/// Reads virtual servers one by one: all of them at once would take many times the memory of the file, and leave holes in
/// the memory of what is made of them.
///
/// # Errors
///
/// As [`read`].
pub(crate) fn virtual_servers<'t>(
    tree: &'t Tree,
    sources: &'t Sources,
) -> impl Iterator<Item = Result<WrittenServer<'t>, Error>> + 't {
    let input = Input { tree, sources };
    input.blocks(tree.roots(), VIRTUAL_SERVER).map(move |(id, block)| {
        let settings = VirtualServer::deserialize(Item::block_of(input, block, Nodes::one(id)))?;
        Ok(WrittenServer { settings, real_servers: RealServers { input, of: id } })
    })
}

/// A virtual server as it is written.
pub(crate) struct WrittenServer<'t> {
    pub(crate) settings: VirtualServer,
    pub(crate) real_servers: RealServers<'t>,
}

/// The real servers of one virtual server, read one by one for the same reason.
#[derive(Clone, Copy)]
pub(crate) struct RealServers<'t> {
    input: Input<'t>,
    of: NodeId,
}

impl<'t> RealServers<'t> {
    /// # Errors
    ///
    /// As [`read`].
    pub(crate) fn iter(self) -> impl Iterator<Item = Result<RealServer, Error>> + 't {
        let input = self.input;
        self.blocks()
            .map(move |(id, block)| RealServer::deserialize(Item::block_of(input, block, Nodes::one(id))))
    }

    pub(crate) fn count(self) -> usize {
        self.blocks().count()
    }

    fn blocks(self) -> impl Iterator<Item = (NodeId, &'static Block)> + 't {
        self.input.blocks(self.input.tree.children(self.of), REAL_SERVER)
    }
}

const VIRTUAL_SERVER: &str = "virtual_server";
const REAL_SERVER: &str = "real_server";

fn is_read_by_itself(tree: &Tree, id: NodeId) -> bool {
    tree.node(id).keyword.is_some_and(|keyword| [VIRTUAL_SERVER, REAL_SERVER].contains(&keyword.name))
}

#[derive(Clone, Copy)]
struct Input<'t> {
    tree: &'t Tree,
    sources: &'t Sources,
}

impl<'t> Input<'t> {
    /// Blocks of this name among `nodes`.
    fn blocks(
        self,
        nodes: impl Iterator<Item = NodeId> + 't,
        name: &'static str,
    ) -> impl Iterator<Item = (NodeId, &'static Block)> + 't {
        nodes.filter_map(move |id| {
            let node = self.tree.node(id);
            match node.keyword {
                Some(Keyword { name: its, form: Form::Block(block), .. })
                    if *its == name && !node.ignored =>
                {
                    Some((id, *block))
                }
                _ => None,
            }
        })
    }

    fn word(self, (at, word): (WordId, Word), form: Form) -> Item<'t> {
        let text = Cow::Borrowed(self.sources.text(word));
        Item::Word { text, span: self.sources.span(word), at, form }
    }

    /// The words behind the keyword; a script's are split by its own rules.
    fn values(self, id: NodeId, form: Form) -> Vec<Item<'t>> {
        if matches!(form, Form::Script | Form::OptScript) {
            let rest = self.tree.node(id).rest;
            let at = self.tree.first_word(id);
            return script_words(self.sources.text(rest))
                .into_iter()
                .map(|w| {
                    let span = self.sources.span(rest.part(w.start, w.end));
                    Item::Word { text: Cow::Owned(w.text), span, at, form }
                })
                .collect();
        }
        self.tree.numbered_words(id).skip(1).map(|w| self.word(w, form)).collect()
    }

    fn entries(self, id: NodeId, content: Content) -> Vec<Item<'t>> {
        let lines = self.tree.children(id).filter(|line| !self.tree.node(*line).ignored);
        let words = |line: NodeId| self.tree.numbered_words(line).map(move |w| self.word(w, Form::Text));
        match content {
            Content::Entries(entries) if entries.many_per_line() => lines.flat_map(words).collect(),
            _ => lines.map(|line| Item::List(words(line).collect())).collect(),
        }
    }
}

/// The content of a block, or of several blocks of one keyword taken together.
struct BlockItem<'t> {
    input: Input<'t>,
    block: &'static Block,
    /// The blocks; none for the root.
    heads: Option<Nodes>,
}

/// One node or several: nearly always one.
struct Nodes {
    first: NodeId,
    more: Vec<NodeId>,
}

impl Nodes {
    const fn one(id: NodeId) -> Self {
        Self { first: id, more: Vec::new() }
    }

    fn last(&self) -> NodeId {
        self.more.last().copied().unwrap_or(self.first)
    }

    fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }
}

enum Item<'t> {
    Block(BlockItem<'t>),
    /// All statements of one keyword in one block.
    Field {
        input: Input<'t>,
        keyword: &'static Keyword,
        nodes: Nodes,
    },
    List(Vec<Item<'t>>),
    Word {
        text: Cow<'t, str>,
        span: Span,
        at: WordId,
        form: Form,
    },
}

impl<'t> Item<'t> {
    fn span(&self) -> Span {
        match self {
            Self::Block(block) => match &block.heads {
                Some(heads) => block.input.sources.span(block.input.tree.head(heads.first)),
                None => Span::new(0, 0, 0),
            },
            Self::Field { input, nodes, .. } => {
                let id = nodes.last();
                let values = input.tree.values(id);
                let word = match (values.first(), values.last()) {
                    (Some(first), Some(last)) => first.until(*last),
                    _ => input.tree.head(id),
                };
                input.sources.span(word)
            }
            Self::List(items) => items.first().map_or(Span::new(0, 0, 0), Item::span),
            Self::Word { span, .. } => *span,
        }
    }

    /// The first word of the value, or the keyword where there is none.
    fn at(&self) -> WordId {
        match self {
            Self::Block(BlockItem { input, heads, .. }) => {
                heads.as_ref().map_or(0, |heads| input.tree.first_word(heads.first))
            }
            Self::Field { input, nodes, .. } => {
                let id = nodes.last();
                input.tree.first_word(id) + u32::from(!input.tree.values(id).is_empty())
            }
            Self::List(items) => items.first().map_or(0, Item::at),
            Self::Word { at, .. } => *at,
        }
    }

    const fn block_of(input: Input<'t>, block: &'static Block, heads: Nodes) -> Self {
        Self::Block(BlockItem { input, block, heads: Some(heads) })
    }

    fn into_list(self) -> Vec<Self> {
        match self {
            Self::Field { input, keyword, nodes } => match keyword.form {
                Form::Block(block) => match block.content {
                    _ if block.title != Title::None || matches!(block.content, Content::Words(_)) => {
                        nodes.iter().map(|id| Self::block_of(input, block, Nodes::one(id))).collect()
                    }
                    content => nodes.iter().flat_map(|id| input.entries(id, content)).collect(),
                },
                form if keyword.repeats => {
                    nodes.iter().map(|id| Self::List(input.values(id, form))).collect()
                }
                form => input.values(nodes.last(), form),
            },
            Self::List(items) => items,
            other => vec![other],
        }
    }

    /// The one value of a statement.
    fn into_scalar(self) -> Self {
        match self {
            Self::Field { input, keyword, nodes } => {
                let form = keyword.form;
                let script = matches!(form, Form::Script | Form::OptScript);
                let value = if script {
                    input.values(nodes.last(), form).into_iter().next()
                } else {
                    input.tree.numbered_words(nodes.last()).nth(1).map(|word| input.word(word, form))
                };
                value.unwrap_or_else(|| {
                    let field = Item::Field { input, keyword, nodes };
                    Self::Word { text: Cow::Borrowed(""), span: field.span(), at: field.at(), form }
                })
            }
            Self::List(items) => items.into_iter().next().unwrap_or(Self::Word {
                text: Cow::Borrowed(""),
                span: Span::new(0, 0, 0),
                at: 0,
                form: Form::Text,
            }),
            other => other,
        }
    }
}

impl<'de> Deserializer<'de> for Item<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.into_scalar() {
            Self::Word { text, form, .. } => match form {
                Form::Flag => visitor.visit_bool(true),
                // A switch without a word is on.
                Form::Bool => visitor.visit_bool(value::boolean(&text).unwrap_or(true)),
                Form::Int(..) | Form::OptInt(..) => match number(&text) {
                    Some(n) => visitor.visit_i64(n),
                    None => visitor.visit_str(&text),
                },
                Form::IntElse(min, max, default) => {
                    visitor.visit_i64(number(&text).filter(|n| (min..=max).contains(n)).unwrap_or(default))
                }
                Form::Clamped(min, max) => visitor.visit_i64(number(&text).unwrap_or(min).clamp(min, max)),
                _ => visitor.visit_str(&text),
            },
            block => block.deserialize_map(visitor),
        }
    }

    /// A word as it is written, also where it is a number.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.into_scalar() {
            Self::Word { text, .. } => visitor.visit_str(&text),
            block => block.deserialize_map(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Items(self.into_list().into_iter()))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == LOCATED {
            let span = self.span();
            let parts = vec![self.at(), span.end, span.start, span.file];
            return visitor.visit_seq(Place { parts, value: Some(self) });
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Block(block) => visitor.visit_map(Fields::new(&block)),
            Self::Field { input, keyword: Keyword { form: Form::Block(block), .. }, nodes } => {
                Item::block_of(input, block, nodes).deserialize_map(visitor)
            }
            _ => Err(serde::de::Error::custom("a block was expected")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.into_scalar() {
            Self::Word { text, .. } => visitor.visit_enum((*text).into_deserializer()),
            _ => Err(serde::de::Error::custom("a word was expected")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        newtype_struct tuple identifier ignored_any
    }
}

fn number(text: &str) -> Option<i64> {
    match value::integer(text) {
        Ok(n) | Err(NumberError::Trailing(n)) => Some(n),
        Err(NumberError::None) => None,
    }
}

struct Items<'t>(std::vec::IntoIter<Item<'t>>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The numbers of a place, the last one first, then the value.
struct Place<'t> {
    parts: Vec<u32>,
    value: Option<Item<'t>>,
}

impl<'de> SeqAccess<'de> for Place<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if let Some(part) = self.parts.pop() {
            let part: U32Deserializer<Error> = part.into_deserializer();
            return seed.deserialize(part).map(Some);
        }
        self.value.take().map(|item| seed.deserialize(item)).transpose()
    }
}

/// The fields of a block in the order of their first mention.
struct Fields<'t> {
    fields: std::vec::IntoIter<(&'static str, FieldValue<'t>)>,
    value: Option<FieldValue<'t>>,
}

enum FieldValue<'t> {
    Item(Item<'t>),
    Order(u64),
}

impl<'t> Fields<'t> {
    fn new(block: &BlockItem<'t>) -> Self {
        let BlockItem { input, block, heads } = block;
        let mut fields: Vec<(&'static str, FieldValue<'t>)> = Vec::new();
        if let (Some(id), Some(key)) = (heads.as_ref().map(|heads| heads.first), block.title.key()) {
            let mut words = input.tree.numbered_words(id).skip(1).map(|word| input.word(word, Form::Text));
            let title = match block.title {
                Title::Service | Title::Server => Some(Item::List(words.collect())),
                Title::Name | Title::None => words.next(),
            };
            fields.extend(title.map(|title| (key, FieldValue::Item(title))));
            fields.push(("order", FieldValue::Order(id as u64)));
            if matches!(block.content, Content::Entries(_)) {
                fields.push((ENTRIES, FieldValue::Item(Item::List(input.entries(id, block.content)))));
            }
        }
        let add = |id: NodeId| {
            let node = input.tree.node(id);
            let read = !node.ignored && !is_read_by_itself(input.tree, id);
            let Some(keyword) = node.keyword.filter(|k| read && k.support == Support::On) else {
                return;
            };
            // Old spellings are read as the new ones.
            let today = today(keyword, block);
            let known = fields.iter_mut().find(|(name, _)| *name == today.name);
            match known {
                Some((_, FieldValue::Item(Item::Field { nodes, .. }))) => nodes.more.push(id),
                Some(_) => {}
                None => {
                    let item = Item::Field { input: *input, keyword: today, nodes: Nodes::one(id) };
                    fields.push((today.name, FieldValue::Item(item)));
                }
            }
        };
        match heads {
            Some(heads) => heads.iter().flat_map(|id| input.tree.children(id)).for_each(add),
            None => input.tree.roots().for_each(add),
        }
        Self { fields: fields.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.fields.next() else { return Ok(None) };
        self.value = Some(value);
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.value.take() {
            Some(FieldValue::Item(item)) => seed.deserialize(item),
            Some(FieldValue::Order(order)) => {
                let order: U64Deserializer<Error> = order.into_deserializer();
                seed.deserialize(order)
            }
            None => Err(serde::de::Error::custom("a value without its key")),
        }
    }
}
