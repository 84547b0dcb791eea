use super::check::js;
use super::*;
use serde_json::json;

fn full_args(tool: &Tool) -> Value {
    let pairs = tool.params.iter().map(|param| {
        let value = match param.kind {
            Kind::Text => json!("x"),
            Kind::Flag => json!(true),
            Kind::Count | Kind::Positive => json!(7),
            Kind::Number => json!(1.5),
            Kind::Choice(values) | Kind::ChoiceOr(values, _) => json!(values[0]),
        };
        (param.name.to_string(), value)
    });
    Value::Object(pairs.collect())
}

#[test]
fn names_are_unique_sorted_and_round_trip_through_the_types() {
    assert!(TOOLS.is_sorted_by(|a, b| a.name < b.name));
    for tool in TOOLS {
        let args = full_args(tool);
        let parsed = parse(tool.name, &args).unwrap();
        assert_eq!(parsed.tool(), tool.name);
        // Every parameter of the schema is a field of the type and the other way round.
        assert_eq!(
            serde_json::to_value(&parsed).unwrap()["args"],
            args,
            "{}",
            tool.name
        );
    }
}

#[test]
fn required_in_the_schema_is_required_in_the_type() {
    for tool in TOOLS {
        for param in tool.params {
            let mut args = full_args(tool);
            args.as_object_mut().unwrap().remove(param.name);
            let typed =
                serde_json::from_value::<ToolArgs>(json!({ "tool": tool.name, "args": args }));
            assert_eq!(
                typed.is_err(),
                param.required,
                "{} {}",
                tool.name,
                param.name
            );
            assert_eq!(
                parse(tool.name, &args).is_err(),
                param.required,
                "{} {}",
                tool.name,
                param.name
            );
        }
    }
}

#[test]
fn schemas_have_what_a_model_needs() {
    for tool in TOOLS {
        assert!(
            tool.description.len() > 100 && !tool.description.contains("  -"),
            "{}",
            tool.name
        );
        let schema = tool.schema();
        assert_eq!(schema["type"], "object");
        for param in tool.params {
            assert!(
                schema["properties"][param.name]["description"]
                    .as_str()
                    .unwrap()
                    .len()
                    > 10
            );
        }
    }
    let bash = find("bash").unwrap().description;
    for word in ["bash", "project directory", "120000"] {
        assert!(bash.contains(word), "{word}");
    }
}

#[test]
fn a_failure_reads_as_opencode_says_it() {
    assert_eq!(
        parse("read", &json!({})).unwrap_err(),
        "The read tool was called with invalid arguments: SchemaError(Missing key\n  at [\"filePath\"]).\n\
         Please rewrite the input so it satisfies the expected schema."
    );
}

#[test]
fn each_fault_has_its_text() {
    for (tool, args, why) in [
        (
            "read",
            json!({"filePath": 1}),
            "Expected string, got 1\n  at [\"filePath\"]",
        ),
        (
            "read",
            json!({"filePath": null}),
            "Expected string, got null\n  at [\"filePath\"]",
        ),
        (
            "read",
            json!({"filePath": "a", "offset": "2"}),
            "Expected number | undefined, got \"2\"\n  at [\"offset\"]",
        ),
        (
            "read",
            json!({"filePath": "a", "offset": null}),
            "Expected number | undefined, got null\n  at [\"offset\"]",
        ),
        (
            "read",
            json!({"filePath": "a", "offset": -1}),
            "Expected a value greater than or equal to 0, got -1\n  at [\"offset\"]",
        ),
        (
            "read",
            json!({"filePath": "a", "limit": 1.5}),
            "Expected an integer, got 1.5\n  at [\"limit\"]",
        ),
        (
            "read",
            json!({"filePath": "a", "limit": 1e300}),
            "Expected an integer, got 1e+300\n  at [\"limit\"]",
        ),
        (
            "bash",
            json!({"command": "x", "timeout": 0}),
            "Expected a value greater than 0, got 0\n  at [\"timeout\"]",
        ),
        (
            "edit",
            json!({"filePath": "a", "newString": "b"}),
            "Missing key\n  at [\"oldString\"]",
        ),
        (
            "edit",
            json!({"filePath": "a", "oldString": "b", "newString": "c", "replaceAll": "yes"}),
            "Expected boolean | undefined, got \"yes\"\n  at [\"replaceAll\"]",
        ),
        (
            "read",
            json!({"filePath": "a", "limit": -2, "offset": -1}),
            "Expected a value greater than or equal to 0, got -1\n  at [\"offset\"]",
        ),
        ("glob", json!("x"), "Expected object, got \"x\""),
        (
            "glob",
            json!({"pattern": [1, {"a": "b"}]}),
            "Expected string, got [1,{\"a\":\"b\"}]\n  at [\"pattern\"]",
        ),
    ] {
        let text = parse(tool, &args).unwrap_err();
        assert!(text.contains(&format!("SchemaError({why}).")), "{text}");
    }
}

#[test]
fn unknown_keys_are_ignored_and_whole_floats_are_integers() {
    let parsed = parse(
        "read",
        &json!({"filePath": "a", "offset": 2.0, "description": "hm"}),
    )
    .unwrap();
    assert_eq!(
        parsed,
        ToolArgs::Read(protocol::args::Read {
            file_path: "a".into(),
            offset: Some(2),
            limit: None
        })
    );
}

#[test]
fn an_unknown_tool_is_refused() {
    assert!(parse("list", &json!({})).unwrap_err().contains("list"));
}

#[test]
fn numbers_print_as_in_javascript() {
    for (value, text) in [
        (json!(1.0), "1"),
        (json!(-0.0), "0"),
        (json!(0.1), "0.1"),
        (json!(1e21), "1e+21"),
        (json!(1e-7), "1e-7"),
        (json!(123456789012345680000.0), "123456789012345680000"),
    ] {
        assert_eq!(js(&value), text);
    }
}
