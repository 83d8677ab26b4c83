package tillstream.flink;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.beam.model.pipeline.v1.Endpoints.ApiServiceDescriptor;
import org.apache.beam.sdk.fn.channel.SocketAddressFactory;
import org.apache.beam.sdk.fn.server.GrpcContextHeaderAccessorProvider;
import org.apache.beam.sdk.fn.server.ServerFactory;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.BindableService;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.Server;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.ServerInterceptors;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.netty.NettyServerBuilder;

/**
 * Serve the harness (control, data, state, logging, artifacts, provisioning) at the address that is told to it.
 *
 * <p>Beam 2.62's own factory tells the harness `localhost` and binds the port on every interface. The harness is
 * a process of the same machine, or of the same pod; nobody else has business there.
 */
public final class LoopbackServerFactory extends ServerFactory {

  // The harness pings at this pace, and is hung up on if that is more often than is permitted.
  private static final int PING_S = 20;

  @Override
  public Server allocateAddressAndCreate(
      List<BindableService> services, ApiServiceDescriptor.Builder descriptor) throws IOException {
    InetAddress loopback = InetAddress.getLoopbackAddress();
    Server server = serve(services, new InetSocketAddress(loopback, 0));
    // By its name, as Beam's: that is what settings of proxies leave out.
    descriptor.setUrl(loopback.getHostName() + ":" + server.getPort());
    return server;
  }

  @Override
  public Server create(List<BindableService> services, ApiServiceDescriptor descriptor) throws IOException {
    return serve(services, (InetSocketAddress) SocketAddressFactory.createFrom(descriptor.getUrl()));
  }

  private static Server serve(List<BindableService> services, InetSocketAddress address) throws IOException {
    NettyServerBuilder builder =
        NettyServerBuilder.forAddress(address)
            // Bundles are bounded elsewhere, by the size of buffers.
            .maxInboundMessageSize(Integer.MAX_VALUE)
            .permitKeepAliveTime(PING_S, TimeUnit.SECONDS);
    for (BindableService service : services) {
      // Services tell harnesses apart by a header.
      builder.addService(
          ServerInterceptors.intercept(service, GrpcContextHeaderAccessorProvider.interceptor()));
    }
    return builder.build().start();
  }
}
