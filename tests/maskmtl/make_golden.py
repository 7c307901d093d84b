"""Write golden_predictions.csv anew: only when weights, demo faces or the overlay change on purpose."""

from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.inference import predict
from maskmtl.manifest import open_faces
from tests.maskmtl.test_default_model import FACES, GOLDEN, MASKS, flat

if __name__ == "__main__":
    table = flat(predict(load_model(DEFAULT_MODEL, "cpu"), open_faces("demo").select(FACES), masks=MASKS))
    table.round(5).to_csv(GOLDEN, index=False)
    print(f"{len(table)} predictions in {GOLDEN.name}")
