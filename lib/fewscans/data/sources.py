"""What several data sets are made from, and how it is cited. Citations of one data set stand in its own record."""

LIDC = "Armato et al., Medical Physics 38:915-931 (2011), doi 10.7937/K9/TCIA.2015.LO9QL9SX"
LUNA16 = "Setio et al., Medical Image Analysis 42:1-13 (2017)"
MEDMNIST = "Yang et al., MedMNIST v2, Scientific Data 10:41 (2023), doi 10.1038/s41597-022-01721-8"

# The same in full, for a list
LIDC_IN_FULL = """\
- Armato S. G. et al., The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI),
  Medical Physics 38:915-931 (2011); data doi 10.7937/K9/TCIA.2015.LO9QL9SX.
"""
LUNA16_IN_FULL = """\
- Setio A. A. A. et al., Validation, comparison, and combination of algorithms for automatic detection of pulmonary
  nodules in computed tomography images: the LUNA16 challenge, Medical Image Analysis 42:1-13 (2017).
"""
MEDMNIST_IN_FULL = """\
- Yang J. et al., MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image classification,
  Scientific Data 10:41 (2023), doi 10.1038/s41597-022-01721-8.
"""
TCIA_IN_FULL = """\
- Clark K. et al., The Cancer Imaging Archive (TCIA): maintaining and operating a public information repository,
  Journal of Digital Imaging 26:1045-1057 (2013).
"""
MSD = "https://msd-for-monai.s3-us-west-2.amazonaws.com"  # where MONAI has the Decathlon's archives
ZENODO_PCAM = "https://zenodo.org/records/2546921/files"
ZENODO_MEDMNIST = "https://zenodo.org/records/10519652/files"
