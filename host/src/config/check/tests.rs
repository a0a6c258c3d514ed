use std::time::Duration;

use super::*;

fn settings(text: &str) -> Result<Settings, String> {
    let mut raw = Raw::parse(text).map_err(|faults| faults.to_string())?;
    check(&mut raw).map_err(|faults| faults.to_string())
}

#[test]
fn an_empty_file_serves_the_default_model() {
    let settings = settings("").unwrap();
    assert_eq!(&*settings.default_route, "default");
    let route = &settings.routes["default"];
    assert_eq!(settings.models[&route.model].source, super::super::raw::DEFAULT_MODEL);
    assert_eq!(route.amplification_max, 1, "nothing amplifies without a policy");
    assert_eq!(settings.models[&route.model].batch.batch_wait_ms, Duration::ZERO);
}

#[test]
fn nothing_is_traced_unless_there_is_a_collector() {
    let telemetry = |text: &str| settings(text).unwrap().telemetry;
    assert_eq!(telemetry("").otlp_endpoint, None);
    assert_eq!(telemetry("[telemetry]\notlp_endpoint = ''").otlp_endpoint, None);
    let on = telemetry("[telemetry]\notlp_endpoint = 'http://collector:4318/'\nsample_ratio = 1");
    assert_eq!(on.otlp_endpoint.as_deref(), Some("http://collector:4318/"));
    assert_eq!(on.sample_ratio, 1.0);
}

#[test]
fn faults_name_the_key_the_value_and_what_is_allowed() {
    let check = |text: &str, expected: &str| {
        let fault = settings(text).unwrap_err();
        assert!(fault.contains(expected), "{text}\ngave: {fault}\nnot: {expected}");
    };
    check("lisen = 1", "line 1: unknown key `lisen`");
    check("[server]\nlisten_ops = 'x'", "unknown key `listen_ops`; did you mean `listen`?");
    check(
        "[server]\nbody_bytes_max = 4096\nbodies_bytes_max = 4095",
        "line 3: `server.bodies_bytes_max` is 4095; it must be 4096 to 1099511627776 bytes (the least is one body, `server.body_bytes_max`)",
    );
    check(
        "[server]\nbody_bytes_max = 12",
        "`server.body_bytes_max` is 12; it must be 1024 to 1073741824 bytes",
    );
    check(
        "[server]\nlisten = 'here'",
        "`server.listen` is \"here\"; it must be an address and a port",
    );
    check(
        "[server]\nlisten = '127.0.0.1:80'\nops_listen = '127.0.0.1:80'",
        "line 3: `server.ops_listen` and `server.listen` are both 127.0.0.1:80; each needs",
    );
    check(
        "[server]\nbody_bytes_max = 99999999999999999999\nread_ms_max = -99999999999999999999",
        "line 2: `server.body_bytes_max` is 99999999999999999999; a whole number must be -9223372036854775808 to 9223372036854775807\n  - line 3: `server.read_ms_max` is -99999999999999999999; a whole number must be",
    );
    check(
        "[routes.r]\npolicies = [{ policy = 'p', params = { far = 99999999999999999999 } }]",
        "line 2: `routes.r.policies.0.params.far` is 99999999999999999999; a whole number must be",
    );
    check(
        "[server]\nrequest_ms_max = -1",
        "line 2: `server.request_ms_max` is -1; it must be a whole number, 0 or more",
    );
    check(
        "[server]\nread_ms_max = '10s'\nidle_ms_max = [1]",
        "line 2: `server.read_ms_max` is \"10s\"; it must be a whole number, 0 or more\n  - line 3: `server.idle_ms_max` is [1]",
    );
    check("[sandbox]\ncache = 1", "line 2: `sandbox.cache` is 1; it must be true or false");
    check(
        "[telemetry]\nsample_ratio = 1.5",
        "line 2: `telemetry.sample_ratio` is 1.5; it must be 0 to 1 of the requests",
    );
    check(
        "[telemetry]\nsample_ratio = 'all'",
        "line 2: `telemetry.sample_ratio` is \"all\"; it must be a number",
    );
    for endpoint in ["localhost:4318", "https://collector", "http://", "http://a b", "grpc://x"] {
        let text = format!("[telemetry]\notlp_endpoint = '{endpoint}'");
        let expected = format!(
            "line 2: `telemetry.otlp_endpoint` is \"{endpoint}\"; it must be a URL like http://127.0.0.1:4318 (TLS"
        );
        check(&text, &expected);
    }
    check("[telemetry]\nservice_name = ''", "it must be 1 to 255 bytes");
    check("[telemetry]\notlp = 'x'", "unknown key `otlp`; did you mean `otlp_endpoint`?");
    check("server = 5", "line 1: `server` is 5; it must be a table");
    check("[[routes]]", "it must be a table");
    check("[routes.r]\npolicies = 'p'", "line 2: `routes.r.policies` is \"p\"; it must be a list");
    check(
        "[routes.r]\npolicies = [\n'p',\n5]",
        "line 4: `routes.r.policies.1` is 5; it must be the name of a policy, or {",
    );
    check("[routes.r]\npolicies = [{}]", "`routes.r.policies` has a link without a `policy`");
    check(
        "[routes.r]\npolicies = [{ polices = 'p' }]",
        "line 2: unknown key `polices`; did you mean `policy`?",
    );
    check("[server]\nreplicas = 2", "unknown key `replicas`; it belongs to `[models.NAME]`");
    check("[models.a]\ndefault_route = 'x'", "it belongs before the first table");
    check("[models.a.batch]\n[policies.b.limit]", "unknown key `limit`; did you mean `limits`?");
    check("[server]\nweight = 2", "unknown key `weight`; it belongs to `[routes.NAME]`");
    check("[server", "line 1: ");
    check("a = 1\na = 2", "line 2: ");
    check(
        "[models.a]\nengine = 'candel'",
        "`models.a.engine` is \"candel\"; it must be one of \"auto\", \"packed\", \"candle\"",
    );
    check("[models.a]\nreplicas = 0", "`models.a.replicas` is 0; it must be 1 to 1024 replicas");
    check("[models.'a b']", "has the name \"a b\"");
    check("[models.a.batch]\nbatch_wait = 5", "did you mean `batch_wait_ms`?");
    check(
        "[models.a]\n[models.b]\n[routes.r]",
        "`routes.r.model` is not set, and there are several models",
    );
    check(
        "[models.mini]\n[routes.r]\nmodel = 'minni'",
        "`routes.r.model` names \"minni\", but there is no such model; did you mean \"mini\"?",
    );
    check(
        "[routes.r]\npolicies = ['x']",
        "`routes.r.policies` names \"x\", but there is no such policy; no policy is configured",
    );
    check("[routes.a]\n[routes.b]", "`default_route` is not set, and there are several routes");
    check("default_route = 'x'", "`default_route` names \"x\"");
    check("[policies.p]", "line 1: `policies.p.component` is not set");
    check(
        "[policies.p]\ncomponent = 'p.wasm'\ngrants = ['files']",
        "`policies.p.grants` is \"files\"; it must be one of \"clock\", \"random\"",
    );
    check("[routes.r]\non_failure = 'open'", "one of \"fail\", \"bypass\"");
    check(
        "[policies.p]\ncomponent = 'p.wasm'\n[routes.r]\npolicies = [{ policy = 'p', params = { a = [1] } }]",
        "the parameter `a` is of type array",
    );
}

#[test]
fn every_fault_is_found() {
    let check = |text: &str, expected: usize| {
        let fault = settings(text).unwrap_err();
        assert_eq!(fault.matches("\n  - ").count(), expected, "{fault}");
    };
    check("[server]\nconnections_max = 0\ndocuments_max = 0", 2);
    check("a = 1\n[server]\nb = 2\n[models.m.batch]\nc = 3\n[routes.r]\npolicies = [{ d = 4 }]", 4);
    check("[policies.p]\nx = 1\n[policies.p.limits]\ny = 1\ncpu_ms_max = true", 3);
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let text = "[policies.p]\ncomponent = 'p.wasm'\n[routes.r]\npolicies = ['p', { policy = 'p', params = { a = 1, b = 'x', c = true } }]";
    let mut raw = Raw::parse(text).unwrap();
    let first = check(&mut raw).unwrap();
    let printed = raw.to_toml();
    let mut again = Raw::parse(&printed).unwrap();
    let second = check(&mut again).unwrap();
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    assert_eq!(again.to_toml(), printed);
    assert_eq!(first.routes["r"].policies[1].params["a"], "1");
    assert_eq!(first.routes["r"].amplification_max, 4);
}
