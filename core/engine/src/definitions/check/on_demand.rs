//! Checks of on-demand views; names in their expressions are resolved where they are evaluated.

use std::collections::{BTreeMap, HashSet};

use larder_base::Diagnostic;
use larder_base::error::suggest;
use larder_base::model::{Kind, OnDemandView, Reference};

use super::{Check, absent, repeated};

impl<'a> Check<'a> {
    pub(super) fn on_demand(&mut self, view: &OnDemandView) {
        let name = &view.name;
        if view.features.is_empty() {
            self.wrong(
                Kind::OnDemandView,
                name,
                &["features"],
                format!("on-demand view `{name}` has no features"),
                "add one, such as { name: ratio, type: float64, expr: \"a / b\" }",
            );
        }
        for feature in repeated(view.features.iter().map(|feature| feature.name.as_str())) {
            let place = self.second(Kind::OnDemandView, name.as_str(), feature);
            self.found.push(
                Diagnostic::new(format!(
                    "on-demand view `{name}` has the feature `{feature}` twice"
                ))
                .at(place)
                .help("rename or remove one; names differ by more than case"),
            );
        }
        for feature in view
            .features
            .iter()
            .filter(|feature| feature.expr.trim().is_empty())
        {
            self.wrong(
                Kind::OnDemandView,
                name,
                &["features", feature.name.as_str(), "expr"],
                format!("the expression of `{name}:{}` is empty", feature.name),
                "write an expression over the inputs, such as \"amount / nullif(avg_basket, 0)\"",
            );
        }
        for feature in &view.features {
            if let Some(what) = malformed(&feature.expr) {
                self.wrong(
                    Kind::OnDemandView,
                    name,
                    &["features", feature.name.as_str(), "expr"],
                    format!("the expression of `{name}:{}` {what}", feature.name),
                    "write an SQL expression, such as \"amount / nullif(avg_basket, 0)\"",
                );
            }
        }
        self.inputs(view);
    }

    /// Inputs resolve, and each name means one thing in the expressions.
    fn inputs(&mut self, view: &OnDemandView) {
        let name = &view.name;
        // Name in the expressions (without case) -> what it stands for.
        let mut meanings: BTreeMap<String, String> = BTreeMap::new();
        for field in &view.inputs.request {
            let meaning = format!("the request field `{}`", field.name);
            if meanings
                .insert(field.name.as_str().to_lowercase(), meaning)
                .is_some()
            {
                self.wrong(
                    Kind::OnDemandView,
                    name,
                    &["inputs", "request", field.name.as_str()],
                    format!(
                        "on-demand view `{name}` has the request field `{}` twice",
                        field.name
                    ),
                    "remove one",
                );
                continue;
            }
            if view
                .features
                .iter()
                .any(|feature| feature.name.as_str().eq_ignore_ascii_case(field.name.as_str()))
            {
                self.wrong(
                    Kind::OnDemandView,
                    name,
                    &["features", field.name.as_str(), "name"],
                    format!(
                        "the feature `{name}:{}` has the name of a request field",
                        field.name
                    ),
                    "rename one: both are columns of a training set",
                );
            }
        }
        for (i, text) in view.inputs.features.iter().enumerate() {
            let path = ["inputs", "features", &i.to_string()].map(str::to_owned);
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            for (feature, reference) in self.resolve(Kind::OnDemandView, name.as_str(), &path, text) {
                let meaning = format!("`{reference}`");
                let old = meanings.insert(feature.to_lowercase(), meaning.clone());
                if let Some(old) = old.filter(|old| *old != meaning) {
                    self.wrong(
                        Kind::OnDemandView,
                        name,
                        &path,
                        format!("`{feature}` means {old} and {meaning} in on-demand view `{name}`"),
                        "leave one out, or rename one at its view",
                    );
                }
            }
        }
    }

    /// The features behind a reference with their full references; a mistake where there are none.
    fn resolve(&mut self, kind: Kind, name: &str, path: &[&str], text: &str) -> Vec<(&'a str, String)> {
        let reference: Reference = match text.parse() {
            Ok(reference) => reference,
            Err(error) => {
                let error: larder_base::Error = error;
                let remedy = error
                    .remedy()
                    .unwrap_or("write `view:feature` or `view`")
                    .to_owned();
                self.wrong(kind, name, path, error.message(), remedy);
                return Vec::new();
            }
        };
        let view = reference.view.as_str();
        let Some(target) = self.target(view) else {
            let (message, help) = absent("view", view, self.view_names());
            self.wrong(kind, name, path, message, help);
            return Vec::new();
        };
        let features = target.features();
        let wanted: Vec<_> = match &reference.feature {
            None => features,
            Some(feature) => match features.iter().find(|(known, _)| *feature == **known) {
                Some(known) => vec![*known],
                None => {
                    let message = format!("there is no feature `{feature}` in view `{view}`");
                    let help = suggest(feature.as_str(), features.iter().map(|(known, _)| *known));
                    self.wrong(kind, name, path, message, help);
                    Vec::new()
                }
            },
        };
        wanted
            .into_iter()
            .map(|(feature, _)| (feature, format!("{view}:{feature}")))
            .collect()
    }

    /// On-demand views that need each other's features, each circle once.
    pub(super) fn cycles(&mut self) {
        let mut done: HashSet<&str> = HashSet::new();
        let set = self.set;
        for view in &set.definitions.on_demand_views {
            let mut path = Vec::new();
            if let Some(circle) = self.circle(view.name.as_str(), &mut path, &mut done) {
                let names: Vec<String> = circle.iter().map(|name| format!("`{name}`")).collect();
                self.wrong(
                    Kind::OnDemandView,
                    circle[0],
                    &["inputs", "features"],
                    format!("on-demand views need each other: {}", names.join(" -> ")),
                    "move what they share into a view of its own",
                );
            }
        }
    }

    fn circle<'n>(
        &self,
        name: &'n str,
        path: &mut Vec<&'n str>,
        done: &mut HashSet<&'n str>,
    ) -> Option<Vec<&'n str>>
    where
        'a: 'n,
    {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            let mut circle = path[start..].to_vec();
            circle.push(name);
            return Some(circle);
        }
        let view = self.catalog.on_demand_views.get(name)?;
        if !done.insert(name) {
            return None;
        }
        path.push(name);
        let mut found = None;
        for input in &view.inputs.features {
            let needed = input.split(':').next().unwrap_or_default().trim();
            found = found.or_else(|| self.circle(needed, path, done));
        }
        path.pop();
        found
    }
}

/// What is wrong with the form of an expression, whatever its names mean: those are resolved where
/// expressions are evaluated.
fn malformed(expr: &str) -> Option<&'static str> {
    let mut open = 0_u32;
    let mut quote = None;
    for c in expr.chars() {
        match (quote, c) {
            (Some(end), _) if c == end => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => open += 1,
            (None, ')') if open == 0 => return Some("closes a parenthesis that was not opened"),
            (None, ')') => open -= 1,
            _ => {}
        }
    }
    let dangling = |c: char| matches!(c, '+' | '-' | '*' | '/' | '%' | '=' | '<' | '>' | ',' | '|');
    if quote.is_some() {
        Some("has a quote that is not closed")
    } else if open > 0 {
        Some("has a parenthesis that is not closed")
    } else if expr.trim_end().ends_with(dangling) {
        Some("ends in the middle")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::malformed;

    #[test]
    fn forms() {
        for right in [
            "a / nullif(b, 0)",
            "'(' || \"x(\"",
            "case when a > 0 then 'it''s' end",
            "",
        ] {
            assert_eq!(malformed(right), None, "{right}");
        }
        for wrong in ["a +", "((a)", "a)", "'a", "a ||", "\"a"] {
            assert!(malformed(wrong).is_some(), "{wrong}");
        }
    }
}
