//! How a feature is referred to: `view:feature`, or `view` for all of its features.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::names::{FeatureName, ViewName};

/// A reference to one feature, or to all features of a view.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The view.
    pub view: ViewName,
    /// The feature; `None` for all.
    pub feature: Option<FeatureName>,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.contains('/') || text.contains('@') {
            return Err(Error::unsupported(format!(
                "`{text}`: references to other projects (`project/view`) and versions (`name@version`) are reserved"
            ))
            .help("write `view:feature` or `view`"));
        }
        match text.split_once(':') {
            Some((view, feature)) => Ok(Self {
                view: view.parse()?,
                feature: Some(feature.parse()?),
            }),
            None => Ok(Self {
                view: text.parse()?,
                feature: None,
            }),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.feature {
            Some(feature) => write!(f, "{}:{feature}", self.view),
            None => write!(f, "{}", self.view),
        }
    }
}
