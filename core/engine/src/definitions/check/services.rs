//! Checks of feature services: what they refer to, and the columns they make.

use std::collections::{BTreeMap, HashMap, HashSet};

use larder_base::error::suggest;
use larder_base::model::{FeatureService, Kind, Reference, ServiceItem};
use larder_base::{JoinKey, ValueType};

use super::{Check, Target, absent};
use crate::items::{self, Role};

/// Columns of a service by what tells them apart.
type Columns = BTreeMap<String, Column>;

/// What a column of a service stands for.
struct Column {
    role: Role,
    feature: String,
    /// For messages.
    described: String,
    /// Number of its item.
    item: usize,
}

impl<'a> Check<'a> {
    pub(super) fn service(&mut self, service: &FeatureService) {
        let name = service.name.as_str();
        if service.features.is_empty() {
            self.wrong(
                Kind::FeatureService,
                name,
                &["features"],
                format!("feature service `{name}` has no features"),
                "list views or features, such as \"user_stats:orders_30d\"",
            );
        }
        let mut columns = Columns::new();
        let mut on_demand = Vec::new();
        for (i, item) in service.features.iter().enumerate() {
            let Some(target) = self.target(item.view.as_str()) else {
                let (message, help) = absent("view", item.view.as_str(), self.view_names());
                self.item(name, i, &["view"], message, help);
                continue;
            };
            let join_keys = self.join_keys(target);
            self.role(name, i, item, target, &join_keys);
            if let Target::OnDemand(view) = target {
                on_demand.push(view.name.as_str());
            }
            for (feature, value_type) in self.wanted(name, i, item, target) {
                self.default_fits(name, i, item, feature, value_type);
                let column = Column {
                    role: Role::new(item, &join_keys),
                    feature: feature.to_owned(),
                    described: described(item, feature),
                    item: i,
                };
                self.column(name, item, column, &mut columns);
            }
        }
        self.request(name, on_demand);
    }

    /// A mistake in an item: at a value inside of it where it has one, else at the item.
    fn item(
        &mut self,
        service: &str,
        i: usize,
        inside: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let index = i.to_string();
        let path: Vec<&str> = ["features", &index]
            .into_iter()
            .chain(inside.iter().copied())
            .collect();
        self.wrong(Kind::FeatureService, service, &path, message, help);
    }

    /// The features that an item selects.
    fn wanted(
        &mut self,
        service: &str,
        i: usize,
        item: &ServiceItem,
        target: Target<'a>,
    ) -> Vec<(&'a str, ValueType)> {
        let features = target.features();
        let (wanted, unknown) = items::features(item, &features, |(name, _)| name);
        for name in unknown {
            self.item(
                service,
                i,
                &["features", name.as_str()],
                format!("there is no feature `{name}` in view `{}`", item.view),
                suggest(name.as_str(), features.iter().map(|(known, _)| *known)),
            );
        }
        wanted
    }

    /// The join keys of a view, as far as its entities are there; on-demand views have none.
    fn join_keys(&self, target: Target<'a>) -> Vec<JoinKey> {
        let Target::View(view) = target else {
            return Vec::new();
        };
        let entities = view.entities.iter();
        let entities = entities.filter_map(|entity| self.catalog.entities.get(entity));
        let keys = entities.flat_map(|entity| &entity.join_keys).map(|key| JoinKey {
            name: key.name.clone(),
            value_type: key.value_type,
        });
        let mut keys: Vec<JoinKey> = keys.collect();
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        keys
    }

    fn role(
        &mut self,
        service: &str,
        i: usize,
        item: &ServiceItem,
        target: Target<'a>,
        join_keys: &[JoinKey],
    ) {
        match target {
            Target::View(_) => {}
            Target::OnDemand(_) => {
                if item.alias.is_some() || !item.keys.is_empty() {
                    let key = if item.alias.is_some() { "as" } else { "keys" };
                    self.item(
                        service,
                        i,
                        &[key],
                        format!(
                            "the on-demand view `{}` has no keys, so it has no roles",
                            item.view
                        ),
                        format!("remove `{key}:`"),
                    );
                }
                if item.default.is_some() {
                    self.item(
                        service,
                        i,
                        &["default"],
                        format!("the on-demand view `{}` cannot have a default", item.view),
                        "its features are always computed; use coalesce(…) in the expression, or a default on an input",
                    );
                }
                return;
            }
        }
        for key in items::unknown_keys(item, join_keys) {
            let index = i.to_string();
            self.wrong_key(
                Kind::FeatureService,
                service,
                &["features", &index, "keys", key.as_str()],
                format!("`{key}` is not a join key of view `{}`", item.view),
                format!(
                    "`keys:` maps a join key to a column of the request; {}",
                    suggest(key.as_str(), join_keys.iter().map(|key| key.name.as_str()))
                ),
            );
        }
    }

    fn default_fits(
        &mut self,
        service: &str,
        i: usize,
        item: &ServiceItem,
        feature: &str,
        value_type: ValueType,
    ) {
        if let Err(error) = items::default(item, value_type) {
            self.item(
                service,
                i,
                &["default"],
                format!(
                    "the default does not fit the feature `{}:{feature}`: {}",
                    item.view,
                    error.message()
                ),
                format!("write a value of type {value_type}"),
            );
        }
    }

    /// Each column stands for one feature of one view under one set of keys.
    fn column(&mut self, service: &str, item: &ServiceItem, column: Column, columns: &mut Columns) {
        let name = items::column(item, &column.feature, false);
        match columns.get(&items::comparable(&name)) {
            None => {
                columns.insert(items::comparable(&name), column);
            }
            // The same feature a second time only adds its default.
            Some(known) if known.role == column.role && known.feature == column.feature => {}
            Some(known) => {
                let message = format!(
                    "the column `{name}` of feature service `{service}` would be both {} and {}",
                    known.described, column.described
                );
                let index = known.item.to_string();
                let path = ["features", &index];
                let place = self.set.place(
                    &larder_base::model::ObjectId::new(Kind::FeatureService, service),
                    &path,
                );
                let other = place
                    .map(|place| format!(" (the other is at {place})"))
                    .unwrap_or_default();
                self.item(
                    service,
                    column.item,
                    &[],
                    message,
                    format!(
                        "give one of the views a role: {{ view: {}, as: NAME }}{other}",
                        item.view
                    ),
                );
            }
        }
    }

    /// A request field has one type, whichever on-demand view asks for it.
    fn request(&mut self, service: &str, mut wanted: Vec<&'a str>) {
        let mut seen: HashSet<&str> = HashSet::new();
        let mut fields: HashMap<String, (ValueType, &str)> = HashMap::new();
        while let Some(name) = wanted.pop() {
            let Some(view) = self
                .catalog
                .on_demand_views
                .get(name)
                .filter(|_| seen.insert(name))
            else {
                continue;
            };
            for field in &view.inputs.request {
                let first = fields.get(&field.name.as_str().to_lowercase()).copied();
                match first {
                    Some((value_type, other)) if value_type != field.value_type => {
                        let message = format!(
                            "the request field `{}` of feature service `{service}` is {value_type} in `{other}` and {} in `{name}`",
                            field.name, field.value_type
                        );
                        self.wrong(
                            Kind::FeatureService,
                            service,
                            &["name"],
                            message,
                            "give it one type, or two names",
                        );
                    }
                    Some(_) => {}
                    None => {
                        fields.insert(field.name.as_str().to_lowercase(), (field.value_type, name));
                    }
                }
            }
            let inputs = view.inputs.features.iter();
            wanted.extend(inputs.filter_map(|text| {
                let reference: Reference = text.parse().ok()?;
                let (name, _) = self.catalog.on_demand_views.get_key_value(&reference.view)?;
                Some(name.as_str())
            }));
        }
    }
}

/// A feature as an item asks for it, with its role and keys.
fn described(item: &ServiceItem, feature: &str) -> String {
    let mut text = format!("`{}:{feature}`", item.view);
    if let Some(alias) = &item.alias {
        text.push_str(&format!(" as `{alias}`"));
    }
    if !item.keys.is_empty() {
        let keys: Vec<String> = item
            .keys
            .iter()
            .map(|(key, column)| format!("{key}={column}"))
            .collect();
        text.push_str(&format!(" with {}", keys.join(", ")));
    }
    text
}
