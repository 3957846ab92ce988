//! Which places may break which rule, and why?

/// A file that may be longer than others, up to `lines`, for a reason that a reviewer accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LongFile {
    pub(crate) path: &'static str,
    pub(crate) lines: usize,
    pub(crate) reason: &'static str,
}

/// An entry that is no longer needed is itself a finding, so the table only shrinks by itself.
pub(crate) const LONG_FILES: &[LongFile] = &[];

/// Where `core/` may name a backend: the facade, which selects them by feature, and the one table with
/// which an unknown type in a configuration is answered by "enable the cargo feature …". The tests of
/// configurations and of their schema quote what users write, also for backends that are not here.
pub(crate) const NAMES_BACKENDS: [&str; 4] = [
    "core/larder/",
    "core/base/src/plugin/known.rs",
    "core/engine/src/config/tests.rs",
    "core/engine/src/definitions/tests/",
];

/// Where the wall clock may be read: the one implementation of `Clock`.
pub(crate) const READS_CLOCK: [&str; 2] = ["core/base/src/clock.rs", "core/base/src/clock/"];

/// Why a test may be ignored: another step of `cargo xtask test` runs it, with what it needs.
pub(crate) const RUN_BY_A_STEP: [&str; 4] = [
    r#"#[ignore = "needs an S3 server; cargo xtask test starts one"]"#,
    r#"#[ignore = "needs redis-server; cargo xtask test fetches it"]"#,
    r#"#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]"#,
    r#"#[ignore = "needs dynoxide; cargo xtask test builds it"]"#,
];
