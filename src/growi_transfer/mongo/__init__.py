"""The wiki's database. The only home of motor and of pymongo's client."""
