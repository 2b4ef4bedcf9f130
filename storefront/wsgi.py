import os

from django.core.wsgi import get_wsgi_application

from storefront.start import refuse_bad_start

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storefront.settings")
application = get_wsgi_application()
refuse_bad_start()
