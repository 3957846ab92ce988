//! Online: feature vectors by prepared plans.
//!
//! A plan is resolved once against a snapshot ([`OnlinePlan`]); a session owns everything a read
//! writes to and is reused ([`Session`]). A read touches no registry, parses no name, and makes
//! exactly one call per online store.

mod bound;
mod follow;
mod handle;
mod outcome;
mod plan;
mod session;
mod signature;
mod tensor;
#[cfg(test)]
mod tests;

pub(crate) use follow::Followers;
pub use handle::{Date, FeatureHandle, FeatureType, KeyHandle, KeyType, RequestHandle};
pub use outcome::{Outcome, ReadInfo, Reading};
pub use plan::{OnlineBuilder, OnlinePlan, OutputInfo};
pub use session::Session;
pub use signature::{Signature, SignatureColumn};
pub use tensor::{Tensor, TensorSpec};
