"""`fewscans compare`: which ideas save labels on a user's own data, within some hours, on one page.

`ideas` says what is compared with what; `plan` chooses sizes, seeds and updates that the data and the hours carry;
`page` turns the run's tables into the page.
"""
