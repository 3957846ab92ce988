//! Which backends exist at all, so that a build without one can say which feature brings it.

use super::Role;

/// `(role, type, cargo feature of the facade)` of every backend of this project.
///
/// A name whose crate is still to come has no feature; using it says so.
pub const KNOWN: &[(Role, &str, Option<&str>)] = &[
    (Role::Registry, "memory", Some("")),
    (Role::Registry, "file", Some("object")),
    (Role::Registry, "object", Some("object")),
    (Role::Registry, "postgres", None),
    (Role::Online, "memory", Some("")),
    (Role::Online, "local", Some("local")),
    (Role::Online, "redis", Some("redis")),
    (Role::Online, "dynamodb", Some("dynamodb")),
    (Role::Online, "postgres", Some("postgres")),
    (Role::Offline, "memory", Some("offline")),
    (Role::Offline, "parquet", Some("parquet")),
    (Role::Offline, "postgres", None),
    (Role::Offline, "redshift", None),
    (Role::Provider, "local", Some("local")),
    (Role::Provider, "aws", None),
    (Role::Provider, "onprem", None),
];
