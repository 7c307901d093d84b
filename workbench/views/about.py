"""What the read-outs are, and what they must not be used for."""

import streamlit as st

from workbench.sidebar import card_lines, current_model

st.markdown(
    """
The workbench measures models. It shows how well a model agrees with the annotations of a set of pictures, what a face
mask does to that, and for which groups. It says nothing reliable about the person in a picture.

**For** research, auditing a model, teaching, and comparing what masks do to different groups of pictures.

**Not for** deciding about anyone, identifying anyone, proving an age, or inferring a person's ethnicity or gender.
In the European Union, Article 5(1)(g) of the AI Act forbids some inference of race from biometrics.

**Annotations are not identities.** UTKFace's five ethnicities, its two genders and many of its ages were assigned by
annotators or by algorithms from pictures. The model repeats what they saw, mistakes included.

**Maps are not reasons.** A map shows which regions a method credits with raising a score in this model. It does not
show what would happen if the region changed.

**Small groups are uncertain.** Intervals are at 95 %. Below 20 faces there is no judgement, below 100 a wide interval.

**Your photo** (Face, Mask lab) stays in the memory of this session: it is never written to the disk, cached or
sent anywhere. **Faces uploaded** (Data set, Atlas, Compare) lie in a temporary folder of the machine that runs the
workbench, and are deleted with the session unless you keep them. **A table of predictions** (Fairness, Report) stays
in the session; it is a file only while it is read.
"""
)
st.header("The chosen model")
_, model = current_model()
for line in card_lines(model):
    st.markdown(line)
