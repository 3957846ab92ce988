//! How the text of a scenario is read.

use std::collections::BTreeMap;

use larder_core::arrow::datatypes::{DataType, TimeUnit};
use larder_core::model::{Knowledge, Source};
use larder_core::{Error, Result, Span, Value, ValueType};
use serde_json::json;

use super::{Column, Expected, Facts, Scenario, Spine, Stored, View, time};

/// A section of the text: its heading, options and table.
struct Section<'a> {
    heading: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
    table: Vec<Vec<&'a str>>,
    /// Rows of the table before which a line of `==` stands.
    cuts: Vec<usize>,
}

impl Scenario {
    /// Reads a scenario from text; lines that begin with `#` say something to people only.
    ///
    /// # Errors
    /// `Input` with the section that is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let mut scenario = Self::default();
        for section in sections(text)? {
            let heading = section.heading.join(" ");
            scenario
                .add(&section)
                .map_err(|error| error.with("section", heading))?;
        }
        Ok(scenario)
    }

    fn add(&mut self, section: &Section<'_>) -> Result<()> {
        match section.heading.as_slice() {
            ["source", name] => self.tables.push(source(name, section)?),
            ["entities"] => self.spine = spine(section)?,
            ["view", name] => {
                let view = view(name, section, self)?;
                self.views.push(view);
            }
            ["expect", name] => {
                let expected = expected(name, section, self)?;
                self.expected.push(expected);
            }
            _ => return Err(wrong("no such section")),
        }
        Ok(())
    }
}

fn wrong(text: impl Into<String>) -> Error {
    Error::input(format!("a case cannot be read: {}", text.into()))
}

fn sections(text: &str) -> Result<Vec<Section<'_>>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(heading) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push(Section {
                heading: heading.split_whitespace().collect(),
                options: BTreeMap::new(),
                table: Vec::new(),
                cuts: Vec::new(),
            });
            continue;
        }
        let Some(section) = sections.last_mut() else {
            // What stands before the first section is about the case.
            continue;
        };
        if let Some(cells) = line.strip_prefix('|').and_then(|rest| rest.strip_suffix('|')) {
            section.table.push(cells.split('|').map(str::trim).collect());
        } else if line.starts_with("==") {
            section.cuts.push(section.table.len().saturating_sub(1));
        } else {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| wrong(format!("line `{line}` is neither option nor row")))?;
            section.options.insert(name.trim(), value.trim());
        }
    }
    Ok(sections)
}

fn source(name: &str, section: &Section<'_>) -> Result<Facts> {
    let mut document = serde_json::Map::new();
    document.insert("name".to_owned(), json!(name));
    document.insert("type".to_owned(), json!("memory"));
    for (name, text) in &section.options {
        let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        document.insert((*name).to_owned(), value);
    }
    let source: Source = serde_json::from_value(document.into())
        .map_err(|error| wrong("the options are not those of a source").source(error))?;
    let (header, rows) = section
        .table
        .split_first()
        .ok_or_else(|| wrong("there is no table"))?;
    let columns = header
        .iter()
        .map(|cell| column(cell))
        .collect::<Result<Vec<_>>>()?;
    let types: Vec<ValueType> = columns.iter().map(|column| column.of).collect();
    let mut facts = Facts::new(source, columns);
    facts.rows = rows
        .iter()
        .map(|row| values(row, &types))
        .collect::<Result<_>>()?;
    facts.cuts = section.cuts.clone();
    Ok(facts)
}

/// `name type`, perhaps `as` how it is stored; the name may have blanks.
fn column(cell: &str) -> Result<Column> {
    let words: Vec<&str> = cell.split_whitespace().collect();
    let (words, stored) = match words.as_slice() {
        [front @ .., "as", stored] => (front, storage(stored)?),
        all => (all, Stored::Canonical),
    };
    let Some((of, name)) = words.split_last().filter(|(_, name)| !name.is_empty()) else {
        return Err(wrong(format!("column `{cell}` is not `name type`")));
    };
    let mut column = Column::new(name.join(" "), of.parse()?);
    column.stored = stored;
    Ok(column)
}

fn storage(text: &str) -> Result<Stored> {
    let in_utc = |unit| Stored::As(DataType::Timestamp(unit, Some("UTC".into())));
    Ok(match text {
        "int8" => Stored::As(DataType::Int8),
        "int16" => Stored::As(DataType::Int16),
        "int32" => Stored::As(DataType::Int32),
        "uint8" => Stored::As(DataType::UInt8),
        "uint32" => Stored::As(DataType::UInt32),
        "float32" => Stored::As(DataType::Float32),
        "large_string" => Stored::As(DataType::LargeUtf8),
        "string_view" => Stored::As(DataType::Utf8View),
        "dictionary" => Stored::As(DataType::Dictionary(
            Box::new(DataType::Int32),
            Box::new(DataType::Utf8),
        )),
        "s" => in_utc(TimeUnit::Second),
        "ms" => in_utc(TimeUnit::Millisecond),
        "ns" => in_utc(TimeUnit::Nanosecond),
        _ => {
            let ahead = text
                .strip_prefix("naive")
                .ok_or_else(|| wrong(format!("no storage `{text}`")))?;
            Stored::Naive(offset(ahead).ok_or_else(|| wrong(format!("no offset `{ahead}`")))?)
        }
    })
}

/// `+02:00` in µs.
fn offset(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    Some(sign * (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?) * 60_000_000)
}

fn values(row: &[&str], types: &[ValueType]) -> Result<Vec<Value>> {
    if row.len() != types.len() {
        return Err(wrong(format!(
            "a row has {} cells, the table {} columns",
            row.len(),
            types.len()
        )));
    }
    row.iter().zip(types).map(|(text, of)| value(text, *of)).collect()
}

fn value(text: &str, of: ValueType) -> Result<Value> {
    match text {
        "null" => Ok(Value::Null),
        "\"\"" => Value::parse("", of),
        _ if of == ValueType::TIMESTAMP => time(text)
            .map(Value::Timestamp)
            .ok_or_else(|| wrong(format!("`{text}` is no time"))),
        _ => Value::parse(text, of),
    }
}

fn spine(section: &Section<'_>) -> Result<Spine> {
    let (header, rows) = section
        .table
        .split_first()
        .ok_or_else(|| wrong("there is no table"))?;
    let (last, keys) = header
        .split_last()
        .ok_or_else(|| wrong("the table has no columns"))?;
    if *last != "T" {
        return Err(wrong("the last column of the entity rows is not `T`"));
    }
    let columns = keys.iter().map(|cell| column(cell)).collect::<Result<Vec<_>>>()?;
    let mut types: Vec<ValueType> = columns.iter().map(|column| column.of).collect();
    types.push(ValueType::TIMESTAMP);
    let mut spine = Spine {
        columns: columns
            .into_iter()
            .map(|column| (column.name, column.of))
            .collect(),
        ..Spine::default()
    };
    for row in rows {
        let mut values = values(row, &types)?;
        match values.pop() {
            Some(Value::Timestamp(time)) => spine.times.push(time.0),
            _ => return Err(wrong("`T` may not be null")),
        }
        spine.rows.push(values);
    }
    Ok(spine)
}

/// `a, b = c`: names, each with another name or itself.
fn pairs(text: &str) -> Vec<(&str, &str)> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once('=') {
            Some((name, other)) => (name.trim(), other.trim()),
            None => (part, part),
        })
        .collect()
}

fn view(name: &str, section: &Section<'_>, scenario: &Scenario) -> Result<View> {
    let option = |name| section.options.get(name).copied();
    let table = match option("source") {
        Some(source) => scenario
            .tables
            .iter()
            .position(|table| table.source.name == *source),
        None => (!scenario.tables.is_empty()).then_some(0),
    };
    let table = table.ok_or_else(|| wrong("the view's source is not there"))?;
    let mut keys = Vec::new();
    for (key, column) in pairs(option("keys").unwrap_or_default()) {
        let found = scenario.spine.columns.iter().position(|(name, _)| name == column);
        keys.push((
            key.to_owned(),
            found.ok_or_else(|| wrong(format!("no entity column `{column}`")))?,
        ));
    }
    let features = pairs(option("features").unwrap_or_default());
    let features = features.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut view = View::new(name, table, keys, features);
    view.ttl = option("ttl")
        .map(|text| text.parse::<Span>().map(|span| span.0))
        .transpose()?;
    view.knowledge = match option("knowledge") {
        None => None,
        Some("as_of") => Some(Knowledge::AsOf),
        Some("tie_break") => Some(Knowledge::TieBreak),
        Some(other) => return Err(wrong(format!("no knowledge `{other}`"))),
    };
    Ok(view)
}

fn expected(name: &str, section: &Section<'_>, scenario: &Scenario) -> Result<Expected> {
    let view = scenario.views.iter().position(|view| view.name == name);
    let view = view.ok_or_else(|| wrong("the view is not there"))?;
    let (header, rows) = section
        .table
        .split_first()
        .ok_or_else(|| wrong("there is no table"))?;
    let facts = &scenario.tables[scenario.views[view].table];
    let mut types = Vec::new();
    for column in header {
        types.push(match *column {
            "event" | "created" => ValueType::TIMESTAMP,
            feature => facts.columns[facts.column(facts.source.column_of(feature))?].of,
        });
    }
    let mut counts = Vec::new();
    for (name, text) in &section.options {
        let count = text.parse().map_err(|_| wrong(format!("`{text}` is no count")))?;
        counts.push(((*name).to_owned(), count));
    }
    Ok(Expected {
        view,
        columns: header.iter().map(|name| (*name).to_owned()).collect(),
        rows: rows
            .iter()
            .map(|row| values(row, &types))
            .collect::<Result<_>>()?,
        counts,
    })
}
