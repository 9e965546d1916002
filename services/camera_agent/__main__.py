"""Makes `python -m services.camera_agent` work."""

import sys

from services.camera_agent.main import main

sys.exit(main())
