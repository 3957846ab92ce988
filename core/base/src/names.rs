//! Which spellings are names: parsed once at the edge, trusted afterwards.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};

/// Longest name in bytes.
pub const MAX_NAME: usize = 128;

fn check(what: &str, text: &str, hyphens: bool) -> Result<()> {
    let head = text.bytes().next();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || (hyphens && b == b'-');
    let ok = head.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(legal)
        && text.len() <= MAX_NAME;
    if ok {
        return Ok(());
    }
    let hyphen = if hyphens { ", `-`" } else { "" };
    Err(Error::definition(format!(
        "`{}` is not a {what} name",
        text.chars().take(MAX_NAME + 8).collect::<String>()
    ))
    .help(format!(
        "use a letter or `_`, then letters, digits, `_`{hyphen}; at most {MAX_NAME} characters"
    )))
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident($what:literal, $hyphens:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            /// `Definition` when the text is not a legal name.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                check($what, text, $hyphens)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "a {} name", $what)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )*};
}

names! {
    /// Name of a project; may hold hyphens.
    ProjectName("project", true);
    /// Name of a definition set; may hold hyphens.
    SetName("definition set", true);
    /// Name of a configured store, such as `default`.
    StoreName("store", true);
    /// Name of an entity.
    EntityName("entity", false);
    /// Name of a source.
    SourceName("source", false);
    /// Name of a feature view or on-demand view.
    ViewName("view", false);
    /// Name of a feature.
    FeatureName("feature", false);
    /// Name of a feature service.
    ServiceName("feature service", false);
    /// Name of a model.
    ModelName("model", false);
    /// Name of a join key, a request field or an output column.
    ColumnName("column", false);
}

impl ProjectName {
    /// The definition set of a project that does not name one.
    pub fn default_set(&self) -> SetName {
        SetName(self.0.clone())
    }
}

impl StoreName {
    /// `default`: the store that a view or source without `store:` uses.
    pub fn default_store() -> Self {
        Self("default".into())
    }
}

impl From<FeatureName> for ColumnName {
    fn from(name: FeatureName) -> Self {
        Self(name.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_and_illegal() {
        assert!(ViewName::new("user_stats").is_ok());
        assert!(ViewName::new("_x9").is_ok());
        assert!(ProjectName::new("team-risk").is_ok());
        for wrong in ["", "9a", "a-b", "a b", "ä", &"x".repeat(129)] {
            assert!(ViewName::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn serde_checks() {
        assert!(serde_json::from_str::<ViewName>("\"ok\"").is_ok());
        assert!(serde_json::from_str::<ViewName>("\"not ok\"").is_err());
    }
}
