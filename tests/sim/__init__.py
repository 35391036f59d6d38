"""Stand-ins for the vendors we talk to: small local servers on their real wire formats.

Each is driven by the vendor's own SDK, offers a person's verbs (say, press) and writes down in a journal all that
passed. They listen on loopback only and know nothing of our code: what they refuse, the vendor would refuse.
"""
