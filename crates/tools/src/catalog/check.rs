//! Checks JSON against the small part of JSON Schema that the catalogue uses: an object of
//! strings, choices, booleans and numbers. The first fault, in the order of the parameters, is the
//! one that is told.

use serde_json::{Map, Value};

/// The arguments that the schema names, or what is wrong with the first bad one. `order` has all
/// names of the schema, whose own objects do not keep their order.
pub(super) fn check(schema: &Value, order: &[&str], args: &Value) -> Result<Value, String> {
    let Value::Object(args) = args else {
        return Err(format!("Expected object, got {}", js(args)));
    };
    let mut clean = Map::new();
    let no_names = Vec::new();
    let required = schema["required"].as_array().unwrap_or(&no_names);
    let is_required = |name: &str| required.iter().any(|known| known == name);
    for &name in order {
        match args.get(name) {
            Some(value) => {
                let value = one(&schema["properties"][name], value, is_required(name))
                    .map_err(|why| format!("{why}\n  at [\"{name}\"]"))?;
                clean.insert(name.to_string(), value);
            }
            None if is_required(name) => return Err(format!("Missing key\n  at [\"{name}\"]")),
            None => {}
        }
    }
    Ok(Value::Object(clean))
}

/// Texts that a choice offers, as OpenCode lists them in an error.
fn choice(schema: &Value) -> Option<(&Vec<Value>, String)> {
    let values = schema["enum"].as_array()?;
    let shown: Vec<String> = values.iter().map(js).collect();
    Some((values, shown.join(" | ")))
}

/// One value; integers come back as integers, also if they were written `2.0`.
fn one(schema: &Value, value: &Value, required: bool) -> Result<Value, String> {
    if let Some((values, shown)) = choice(schema) {
        if values.contains(value) {
            return Ok(value.clone());
        }
        let or_none = if required || value.is_string() {
            ""
        } else {
            " | undefined"
        };
        return Err(format!("Expected {shown}{or_none}, got {}", js(value)));
    }
    let (name, fits) = match schema["type"].as_str() {
        Some("string") => ("string", value.is_string()),
        Some("boolean") => ("boolean", value.is_boolean()),
        _ => ("number", value.is_number()),
    };
    if !fits {
        let or_none = if required { "" } else { " | undefined" };
        return Err(format!("Expected {name}{or_none}, got {}", js(value)));
    }
    if name != "number" || schema["type"] == "number" {
        return Ok(value.clone());
    }
    let number = value.as_f64().unwrap_or(f64::NAN);
    if number.fract() != 0.0 || number.abs() > schema["maximum"].as_f64().unwrap_or(f64::MAX) {
        return Err(format!("Expected an integer, got {}", js(value)));
    }
    if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
        return Err(format!(
            "Expected a value greater than or equal to {least}, got {}",
            js(value)
        ));
    }
    if let Some(bound) = schema["exclusiveMinimum"]
        .as_f64()
        .filter(|bound| number <= *bound)
    {
        return Err(format!(
            "Expected a value greater than {bound}, got {}",
            js(value)
        ));
    }
    Ok(Value::from(number as i64))
}

/// `value` as JavaScript would print it: strings quoted, numbers without a needless `.0`.
pub(super) fn js(value: &Value) -> String {
    match value {
        Value::Number(number) => js_number(number),
        Value::Array(items) => format!("[{}]", items.iter().map(js).collect::<Vec<_>>().join(",")),
        Value::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), js(value)))
                .collect();
            format!("{{{}}}", pairs.join(","))
        }
        other => other.to_string(),
    }
}

/// ECMAScript's Number::toString for what JSON can hold.
fn js_number(number: &serde_json::Number) -> String {
    let value = number.as_f64().unwrap_or(f64::NAN);
    let size = value.abs();
    if value == 0.0 {
        return "0".to_string();
    }
    if (1e-6..1e21).contains(&size) {
        return format!("{value}");
    }
    // Rust writes `1e21`, JavaScript `1e+21`.
    let text = format!("{value:e}");
    if text.contains("e-") {
        text
    } else {
        text.replace('e', "e+")
    }
}
