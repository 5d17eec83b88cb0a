"""Which steps' results go with a customer's job."""

from pipelines.forget import of_customers
from reft.keys.stages import STAGES

PROVIDERS = {"refusal_feature", "teacher", "soft_labels", "calibration", "baselines", "audit_reference"}


def test_all_that_stands_on_a_customers_rows_goes_and_what_all_customers_share_stays():
    assert set(STAGES) - of_customers() == PROVIDERS
    assert of_customers() - set(STAGES) == {"gate", "registration", "report"}
