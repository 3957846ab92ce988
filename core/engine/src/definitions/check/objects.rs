//! Checks of entities, sources and models.

use std::collections::{BTreeSet, HashMap};

use larder_base::error::suggest;
use larder_base::model::{Catalog, Entity, Kind, Knowledge, Model, Source};

use super::{Check, absent, repeated};

/// Names that a source's `columns` may rename: features and keys of the views that read it.
pub(super) type ColumnsBySource<'a> = HashMap<&'a str, BTreeSet<&'a str>>;

pub(super) fn columns_by_source(catalog: &Catalog) -> ColumnsBySource<'_> {
    let mut used = ColumnsBySource::new();
    for view in catalog.feature_views.values() {
        let names = used.entry(view.source.as_str()).or_default();
        names.extend(view.features.iter().map(|feature| feature.name.as_str()));
        for entity in view.entities.iter().filter_map(|name| catalog.entities.get(name)) {
            names.extend(entity.join_keys.iter().map(|key| key.name.as_str()));
        }
    }
    used
}

impl Check<'_> {
    pub(super) fn entity(&mut self, entity: &Entity) {
        let name = &entity.name;
        if entity.join_keys.is_empty() {
            self.wrong(
                Kind::Entity,
                name,
                &["join_keys"],
                format!("entity `{name}` has no join keys"),
                "add one, such as { name: user_id, type: int64 }; features of everything need a view with `entities: []`",
            );
        }
        for key in repeated(entity.join_keys.iter().map(|key| key.name.as_str())) {
            self.wrong(
                Kind::Entity,
                name,
                &["join_keys", key],
                format!("entity `{name}` has the join key `{key}` twice"),
                "remove one",
            );
        }
        for key in entity.join_keys.iter().filter(|key| !key.value_type.is_key()) {
            self.wrong(
                Kind::Entity,
                name,
                &["join_keys", key.name.as_str(), "type"],
                format!("the join key `{}` cannot be {}", key.name, key.value_type),
                "keys are bool, int32, int64, string, bytes, date, timestamp or decimal(p,s)",
            );
        }
    }

    pub(super) fn source(&mut self, source: &Source, used: &HashMap<&str, BTreeSet<&str>>) {
        let name = &source.name;
        self.source_type(source);
        for (key, text) in [
            ("event_time", Some(&source.event_time)),
            ("created_time", source.created_time.as_ref().map(|c| &c.column)),
        ] {
            if text.is_some_and(|text| text.trim().is_empty()) {
                self.wrong(
                    Kind::Source,
                    name,
                    &[key],
                    format!("the {key} of source `{name}` is empty"),
                    "name the column",
                );
            }
        }
        if source.knowledge == Knowledge::AsOf && source.created_time.is_none() {
            self.wrong(
                Kind::Source,
                name,
                &["knowledge"],
                format!("source `{name}` has `knowledge: as_of` but no created time"),
                "add `created_time:`, or remove `knowledge:`",
            );
        }
        if let Some(zone) = &source.timezone
            && !is_zone(zone)
        {
            self.wrong(
                Kind::Source,
                name,
                &["timezone"],
                format!("there is no time zone `{zone}`"),
                "write UTC, an IANA name such as Europe/Stockholm, or an offset such as +02:00",
            );
        }
        for column in repeated(source.tie_break.iter().map(String::as_str)) {
            self.wrong(
                Kind::Source,
                name,
                &["tie_break", column],
                format!("`{column}` stands twice in the tie break of source `{name}`"),
                "remove one",
            );
        }
        if source
            .filter
            .as_ref()
            .is_some_and(|filter| filter.trim().is_empty())
        {
            self.wrong(
                Kind::Source,
                name,
                &["filter"],
                format!("the filter of source `{name}` is empty"),
                "remove it, or write an expression such as \"country = 'SE'\"",
            );
        }
        // A source that no view reads yet says nothing about what its columns should be.
        if let Some(names) = used.get(name.as_str()) {
            for renamed in source
                .columns
                .keys()
                .filter(|renamed| !names.contains(renamed.as_str()))
            {
                self.wrong_key(
                    Kind::Source,
                    name,
                    &["columns", renamed],
                    format!("`{renamed}` is no feature or key of a view of source `{name}`"),
                    format!(
                        "`columns:` maps our names to the file's; {}",
                        suggest(renamed, names.iter().copied())
                    ),
                );
            }
        }
    }

    fn source_type(&mut self, source: &Source) {
        let name = &source.name;
        if self.kinds.is_empty() {
            return;
        }
        let kinds = self.kinds;
        // Two stores may read the same type of source with different options.
        let mut options: BTreeSet<&str> = BTreeSet::new();
        let mut known = false;
        for kind in kinds.iter().filter(|kind| kind.name == source.kind) {
            known = true;
            options.extend(kind.options);
        }
        if !known {
            let (message, help) = absent("source type", &source.kind, kinds.iter().map(|kind| kind.name));
            return self.wrong(Kind::Source, name, &["type"], message, help);
        }
        for option in source
            .options
            .keys()
            .filter(|option| !options.contains(option.as_str()))
        {
            let all = options.iter().copied().chain(Source::KEYS);
            let help = match larder_base::error::nearest(option, all) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if options.is_empty() => format!("type `{}` has no options of its own", source.kind),
                None => format!(
                    "type `{}` has: {}",
                    source.kind,
                    options.iter().copied().collect::<Vec<_>>().join(", ")
                ),
            };
            self.wrong_key(
                Kind::Source,
                name,
                &[option],
                format!("unknown key `{option}` in source `{name}`"),
                help,
            );
        }
    }

    pub(super) fn model(&mut self, model: &Model) {
        if !self.catalog.feature_services.contains_key(&model.service) {
            let known = self.catalog.feature_services.keys().map(AsRef::as_ref);
            let (message, help) = absent(Kind::FeatureService, model.service.as_str(), known);
            self.wrong(Kind::Model, &model.name, &["service"], message, help);
        }
    }
}

/// Whether a name is a zone or a fixed offset.
fn is_zone(name: &str) -> bool {
    match name.bytes().next() {
        Some(b'+' | b'-') => jiff::fmt::temporal::DateTimeParser::new()
            .parse_pieces(&format!("2000-01-01T00:00:00{name}"))
            .is_ok_and(|pieces| pieces.to_numeric_offset().is_some()),
        _ => jiff::tz::TimeZone::get(name).is_ok(),
    }
}
