//! A value with its place.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::Seconds;
use crate::config::source::Span;
use crate::config::tree::WordId;
use crate::config::value;

/// A value and where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
    /// The first word of the value, or the keyword where there is none.
    pub(crate) at: WordId,
}

/// By this name the deserializer knows that the place is wanted too.
pub(super) const LOCATED: &str = "$buoy::Located";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple_struct(LOCATED, 5, LocatedVisitor(PhantomData))
    }
}

struct LocatedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for LocatedVisitor<T> {
    type Value = Located<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let missing = || A::Error::custom("a place without its parts");
        let mut number = || parts.next_element::<u32>()?.ok_or_else(missing);
        let span = Span::new(number()?, number()?, number()?);
        let at = number()?;
        let value = parts.next_element()?.ok_or_else(missing)?;
        Ok(Located { value, span, at })
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecondsVisitor;
        impl Visitor<'_> for SecondsVisitor {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Seconds, E> {
                match value::seconds(word) {
                    Ok(duration) | Err(Some(duration)) => Ok(Seconds(duration)),
                    Err(None) => Err(E::custom(format!("`{word}` is not a number of seconds"))),
                }
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Seconds, E> {
                u64::try_from(seconds).map(|s| Seconds(Duration::from_secs(s))).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(SecondsVisitor)
    }
}
