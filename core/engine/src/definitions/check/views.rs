//! Checks of feature views.

use std::collections::HashMap;

use larder_base::Span;
use larder_base::model::{FeatureView, Kind};

use super::{Check, absent, repeated};

impl Check<'_> {
    pub(super) fn view(&mut self, view: &FeatureView) {
        let name = &view.name;
        let catalog = self.catalog;
        if !catalog.sources.contains_key(&view.source) {
            let (message, help) = absent(
                Kind::Source,
                view.source.as_str(),
                catalog.sources.keys().map(AsRef::as_ref),
            );
            self.wrong(Kind::FeatureView, name, &["source"], message, help);
        }
        for entity in view
            .entities
            .iter()
            .filter(|entity| !catalog.entities.contains_key(*entity))
        {
            let (message, help) = absent(
                Kind::Entity,
                entity.as_str(),
                catalog.entities.keys().map(AsRef::as_ref),
            );
            self.wrong(
                Kind::FeatureView,
                name,
                &["entities", entity.as_str()],
                message,
                help,
            );
        }
        self.keys(view);
        self.features(view);
        self.times(view);
    }

    /// Join keys of a view's entities, and features that would stand under the same names.
    fn keys(&mut self, view: &FeatureView) {
        let name = &view.name;
        for entity in repeated(view.entities.iter().map(AsRef::as_ref)) {
            self.wrong(
                Kind::FeatureView,
                name,
                &["entities", entity],
                format!("feature view `{name}` has the entity `{entity}` twice"),
                "list it once; the same entity in two roles is two items of a service with `as:`",
            );
        }
        let mut owners: HashMap<String, &str> = HashMap::new();
        let catalog = self.catalog;
        for entity in view
            .entities
            .iter()
            .filter_map(|entity| catalog.entities.get(entity))
        {
            for key in &entity.join_keys {
                let owner = owners.insert(key.name.as_str().to_lowercase(), entity.name.as_str());
                if let Some(owner) = owner.filter(|owner| *owner != entity.name.as_str()) {
                    self.wrong(
                        Kind::FeatureView,
                        name,
                        &["entities", entity.name.as_str()],
                        format!(
                            "the entities `{owner}` and `{}` of feature view `{name}` both have the join key `{}`",
                            entity.name, key.name
                        ),
                        "rename the join key of one entity",
                    );
                }
            }
        }
        for feature in &view.features {
            if let Some(owner) = owners.get(&feature.name.as_str().to_lowercase()) {
                self.wrong(
                    Kind::FeatureView,
                    name,
                    &["features", feature.name.as_str(), "name"],
                    format!(
                        "the feature `{}` has the name of a join key of entity `{owner}`",
                        feature.name
                    ),
                    "rename the feature, and map it by the source's `columns:`",
                );
            }
        }
    }

    fn features(&mut self, view: &FeatureView) {
        let name = &view.name;
        if view.features.is_empty() {
            self.wrong(
                Kind::FeatureView,
                name,
                &["features"],
                format!("feature view `{name}` has no features"),
                "add one, such as { name: orders_30d, type: int64 }",
            );
        }
        for feature in repeated(view.features.iter().map(|feature| feature.name.as_str())) {
            let place = self.second(Kind::FeatureView, name.as_str(), feature);
            self.found.push(
                larder_base::Diagnostic::new(format!(
                    "feature view `{name}` has the feature `{feature}` twice"
                ))
                .at(place)
                .help("rename or remove one; names differ by more than case"),
            );
        }
    }

    fn times(&mut self, view: &FeatureView) {
        let name = &view.name;
        if view.ttl.is_some_and(|ttl| ttl <= Span::ZERO) {
            self.wrong(
                Kind::FeatureView,
                name,
                &["ttl"],
                format!("with a ttl of zero every value of feature view `{name}` is expired at once"),
                "write a duration such as 7d, or remove `ttl:` for values that hold for ever",
            );
        }
        if view.freshness.is_some_and(|freshness| freshness <= Span::ZERO) {
            self.wrong(
                Kind::FeatureView,
                name,
                &["freshness"],
                format!("feature view `{name}` can never be fresh with `freshness` zero"),
                "write a duration such as 1h",
            );
        }
        if let (Some(ttl), Some(retention)) = (view.ttl, view.retention)
            && retention < ttl
        {
            self.wrong(
                Kind::FeatureView,
                name,
                &["retention"],
                format!(
                    "feature view `{name}` has a retention of {retention}, shorter than its ttl of {ttl}"
                ),
                format!("rows are kept for the ttl anyway; write at least {ttl}, or remove `retention:`"),
            );
        }
        if view.retention.is_some() && view.ttl.is_none() {
            self.wrong(
                Kind::FeatureView,
                name,
                &["retention"],
                format!("feature view `{name}` has a retention but no ttl"),
                "values without a ttl hold for ever and are never freed; add `ttl:` or remove `retention:`",
            );
        }
        if let Some(schedule) = &view.schedule
            && let Err(reason) = cron(schedule)
        {
            self.wrong(
                Kind::FeatureView,
                name,
                &["schedule"],
                format!("the schedule of feature view `{name}` {reason}"),
                "write a cron line: minute hour day month weekday, such as \"*/15 * * * *\"",
            );
        }
    }
}

/// Whether text has the shape of a cron line; what it means is for the scheduler to say.
fn cron(text: &str) -> Result<(), String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("has {} fields, not five", fields.len()));
    }
    // Highest number of each field; months and weekdays also have names.
    for (field, (what, low, high)) in fields.iter().zip([
        ("minute", 0, 59),
        ("hour", 0, 23),
        ("day", 1, 31),
        ("month", 1, 12),
        ("weekday", 0, 7),
    ]) {
        let legal = field.split(',').all(|part| {
            let (range, step) = part
                .split_once('/')
                .map_or((part, None), |(range, step)| (range, Some(step)));
            let number = |text: &str| match text.parse::<u32>() {
                Ok(number) => (low..=high).contains(&number),
                Err(_) => low_names(what) && text.len() == 3 && text.bytes().all(|b| b.is_ascii_alphabetic()),
            };
            let range = matches!(range, "*" | "?") || range.splitn(2, '-').all(number);
            range && step.is_none_or(|step| step.parse::<u32>().is_ok_and(|step| step > 0))
        });
        if !legal {
            return Err(format!("has `{field}` as its {what}"));
        }
    }
    Ok(())
}

fn low_names(what: &str) -> bool {
    matches!(what, "month" | "weekday")
}

#[cfg(test)]
mod tests {
    use super::cron;

    #[test]
    fn cron_lines() {
        for right in [
            "*/15 * * * *",
            "0 3 * * 1-5",
            "5,35 0-6/2 1 JAN,jul sun",
            "0 0 ? * *",
        ] {
            assert_eq!(cron(right), Ok(()), "{right}");
        }
        for wrong in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "a * * * *",
            "*/0 * * * *",
            "1- * * * *",
            "@daily",
        ] {
            assert!(cron(wrong).is_err(), "{wrong}");
        }
    }
}
