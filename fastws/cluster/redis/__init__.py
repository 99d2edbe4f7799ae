"""The processes of one installation among themselves, over Redis."""
