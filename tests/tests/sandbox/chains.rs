//! Who asks whom, and what comes back: chains of policies that mean well.

use super::*;

#[tokio::test]
async fn policies_run_one_in_front_of_the_other() {
    let lab = Lab::new(8);
    let three = vec![
        lab.link("passes_on").await,
        lab.link("dedupe").await,
        with(lab.link("passages").await, &[("words", "2"), ("overlap", "0")]),
    ];
    let chain = lab.chain(three, OnFailure::Fail);
    let mut request = request();
    request.documents.push(document(3, "Blue  shoe!"));
    request.documents.push(document(4, "no no red shoe no no"));
    let answer = ask(&chain, request, HUNG).await;
    let expected = [(0, 0, 0.5), (1, 0, 1.0), (2, 0, 0.0), (4, 1, 1.0)];
    assert_eq!(answer, Ok(ranking(&expected)));
}

#[tokio::test]
async fn a_chain_without_policies_is_the_model() {
    let lab = Lab::new(1);
    let chain = lab.chain(Vec::new(), OnFailure::Fail);
    assert_eq!(ask(&chain, request(), HUNG).await, Ok(ranked_by_words()));
}

#[tokio::test]
async fn a_failed_policy_is_bypassed_where_the_route_says_so() {
    let lab = Lab::new(8);
    for names in [["passes_on", "trap"], ["trap", "passes_on"]] {
        let links = vec![lab.link(names[0]).await, lab.link(names[1]).await];
        let chain = lab.chain(links, OnFailure::Bypass);
        let context = context(HUNG);
        let answer = chain.rerank(request(), &context).await;
        assert_eq!(answer, Ok(ranked_by_words()));
        assert!(context.report.bypassed());
    }
    assert!(lab.metrics.render().contains("maitred_bypasses_total{route=\"route\"} 2"));
}

#[tokio::test]
async fn a_refusal_is_not_bypassed() {
    let lab = Lab::new(8);
    let link = lab.link("lies_about_overload").await;
    let chain = lab.chain(vec![link.clone()], OnFailure::Bypass);
    let answer = ask(&chain, request(), HUNG).await;
    assert!(matches!(answer, Err(Error::Overloaded { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_required_policy_cannot_be_bypassed() {
    let lab = Lab::new(8);
    let settings = PolicySettings { required: Some(true), ..settings(guests::component("dedupe")) };
    let policy = lab.sandbox.load("dedupe", &settings).await.unwrap();
    let error = lab.try_chain(vec![link(policy)], OnFailure::Bypass).err();
    assert!(matches!(error, Some(PolicyError::Required { .. })), "{error:?}");
}

#[tokio::test]
async fn an_error_behind_a_policy_stays_what_it_was() {
    let mut lab = Lab::new(8);
    let errors = [
        Error::Invalid("i".into()),
        Error::Denied("d".into()),
        Error::NotFound("n".into()),
        Error::DeadlineExceeded,
        Error::Overloaded { retry_after: Duration::from_micros(1500) },
        Error::Unavailable { reason: "draining".into(), retry_after: Duration::from_secs(3) },
        Error::Internal("a secret".into()),
        Error::TooLarge { what: "a thing", value: 2, limit: 1 },
    ];
    for error in errors {
        lab.model = Arc::new(Words { error: Some(error.clone()), ..Words::default() });
        let links = vec![lab.link("passes_on").await, lab.link("passages").await];
        let chain = lab.chain(links, OnFailure::Fail);
        assert_eq!(ask(&chain, request(), HUNG).await, Err(error));
    }
}

#[tokio::test]
async fn a_chain_that_asks_the_model_for_too_much_is_counted() {
    let mut lab = Lab::new(8);
    let reason = "asks the model for 9 more pairs".to_owned();
    let error = Error::PolicyFailed { policy: "chain of route".into(), reason };
    lab.model = Arc::new(Words { error: Some(error.clone()), ..Words::default() });
    let counted = |lab: &Lab| {
        let labels = [("policy", "chain of route"), ("reason", "amplification")];
        lab.metric("maitred_policy_failures_total", &labels)
    };
    let link = lab.link("passes_on").await;
    let chain = lab.chain(vec![link.clone()], OnFailure::Fail);
    let named = |policy: &str, reason: &str| {
        Err(Error::PolicyFailed { policy: policy.into(), reason: reason.into() })
    };
    let expected = named("passes_on", "asks the model for 9 more pairs");
    assert_eq!(ask(&chain, request(), HUNG).await, expected);
    assert_eq!(counted(&lab), 1.0);
    // The model errs on the plain ranking, too, which no chain is to blame for.
    let chain = lab.chain(vec![link.clone()], OnFailure::Bypass);
    assert_eq!(ask(&chain, request(), HUNG).await, Err(error));
    assert_eq!(counted(&lab), 2.0);
    assert_eq!(lab.metric("maitred_bypasses_total", &[("route", "route")]), 1.0);
    // Of several it is the last one that asks, on behalf of those in front.
    let links = vec![lab.link("passages").await, link.clone()];
    let chain = lab.chain(links, OnFailure::Fail);
    let expected =
        named("passes_on", "asks the model for 9 more pairs: it stands behind `passages`");
    assert_eq!(ask(&chain, request(), HUNG).await, expected);
}
